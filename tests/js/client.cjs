// A client as the `ws` community writes it: URL [SUBPROTOCOL]. Prints what it hears as JSON lines; obeys `send TEXT`,
// `close CODE`.
const { createInterface } = require('node:readline');
const WebSocket = require('ws');

const [url, ...protocols] = process.argv.slice(2);
const ws = new WebSocket(url, protocols);
ws.on('message', (data) => console.log(data.toString()));
ws.on('close', (code, reason) => {
  console.log(JSON.stringify({ closed: code, reason: reason.toString() }));
  process.stdin.destroy();
});
ws.on('error', (error) => console.log(JSON.stringify({ error: error.message })));

createInterface({ input: process.stdin }).on('line', (line) => {
  const [, verb, argument] = /^(\w+) ?(.*)$/.exec(line);
  if (verb === 'send') ws.send(argument);
  if (verb === 'close') ws.close(Number(argument));
});
