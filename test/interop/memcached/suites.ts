// memcached's own tests, t/*.t of 1.6.18: which of them apply to this server, and why the others do
// not. docs/memcached.md has the same list for readers.

/** Pass through the stand-in for memcached's binary, which starts our server as each test asks. */
export const STARTED = [
  ...["00-startup", "ascii-auth", "binary-get", "binary-sasl", "binary", "bogus-commands", "cas"],
  ...["chunked-items", "daemonize", "dash-M", "evictions", "expirations", "flags"],
  ...["getandtouch", "getset", "idle-timeout", "incrdecr", "issue_104", "issue_108"],
  ...["issue_152", "issue_183", "issue_192", "issue_29", "issue_3", "issue_41", "issue_50"],
  ...["issue_68", "issue_70", "item_size_max", "line-lengths", "lru-crawler"],
  ...["malicious-commands", "maxconns", "metaget", "multiversioning", "noreply", "quit"],
  ...["shutdown", "stats-detail", "stats", "strtol-testing", "touch", "unixsocket"],
  "watcher_connid",
] as const;

/** The same with SSL_TEST=1, over TLS. */
export const STARTED_TLS = [
  ...["ssl_cert_refresh", "ssl_ports", "ssl_proto_version", "ssl_session_resumption"],
  "ssl_verify_modes",
] as const;

/** Pass where items are as large as they came: the same through the stand-in, uncompressed. */
export const STARTED_UNCOMPRESSED = ["issue_14", "watcher"] as const;

/** Pass against a server that runs already, a fresh one for each, on a unix socket too. */
export const RUNNING = [
  ...[
    "binary",
    "binary-get",
    "bogus-commands",
    "cas",
    "chunked-items",
    "evictions",
    "expirations",
    "flags",
  ],
  ...["getandtouch", "getset", "incrdecr", "issue_104", "issue_108", "issue_152", "issue_183"],
  ...["issue_192", "issue_29", "issue_3", "issue_41", "issue_68", "issue_70", "line-lengths"],
  ...["malicious-commands", "metaget", "multiversioning", "noreply", "quit"],
  ...["stats-detail", "strtol-testing", "touch"],
] as const;
