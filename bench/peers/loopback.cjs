// Loaded before Portkey's gateway, which listens on every address of the machine and has no option for one: whoever names
// a port only, listens on loopback.
const { Server } = require("node:net");

const listen = Server.prototype.listen;

Server.prototype.listen = function (first, ...rest) {
  if (typeof first === "object" && first !== null && "port" in first) {
    return listen.call(this, { host: "127.0.0.1", ...first }, ...rest);
  }
  const portOnly = /^\d+$/.test(String(first)) && typeof rest[0] !== "string";
  return portOnly
    ? listen.call(this, Number(first), "127.0.0.1", ...rest.filter((each) => each !== undefined))
    : listen.call(this, first, ...rest);
};
