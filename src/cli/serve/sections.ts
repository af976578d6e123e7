// All settings of a daemon, section by section, in the order in which people read them.
import { DAEMON } from "./daemon_settings.ts";
import { checkMemcached, MEMCACHED } from "./memcached_settings.ts";
import { checkNbd, NBD } from "./nbd_settings.ts";
import type { Section } from "./section.ts";
import { WEB } from "./web_settings.ts";

export const DAEMON_SECTION: Section<typeof DAEMON> = {
  name: "",
  title: "the daemon itself",
  settings: DAEMON,
};
export const MEMCACHED_SECTION: Section<typeof MEMCACHED> = {
  name: "memcached",
  title: "the memcached protocol: text, meta and binary",
  settings: MEMCACHED,
  check: checkMemcached,
};
export const NBD_SECTION: Section<typeof NBD> = {
  name: "nbd",
  title: "compressed block devices (zram) for NBD clients",
  settings: NBD,
  check: checkNbd,
};
export const WEB_SECTION: Section<typeof WEB> = {
  name: "web",
  title: "the web page: dashboard and Prometheus metrics",
  settings: WEB,
};

export const SECTIONS = [DAEMON_SECTION, MEMCACHED_SECTION, NBD_SECTION, WEB_SECTION] as const;
