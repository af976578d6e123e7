#!/usr/bin/env node
console.log("zcache");
