// How vitest runs the suites that are made for it: as they were built, here and nowhere else.
export default {
  cacheDir: ".vite",
  test: { include: ["*.vitest.js"], pool: "threads" },
};
