// Makes vitest run the built suites that need it, in this folder only.
export default {
  cacheDir: ".vite",
  test: { include: ["*.vitest.js"], pool: "threads" },
};
