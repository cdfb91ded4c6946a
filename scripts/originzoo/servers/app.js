// The application in Node: hands each request to the one at 127.0.0.1:APP, and its answer back.
// With h2 it is http2.createSecureServer, which speaks HTTP/1.1 too, else https.createServer.
const fs = require('fs'), http = require('http'), https = require('https'), http2 = require('http2');
const [protocol, port, key, cert, idle] = process.argv.slice(2);
const hop = ['connection', 'keep-alive', 'transfer-encoding', 'expect', 'upgrade', 'te', 'http2-settings'];
const handler = (q, s) => {
  const begin = () => {
    const fields = {};
    for (const [k, v] of Object.entries(q.headers)) if (k[0] !== ':' && !hop.includes(k)) fields[k] = v;
    if (q.headers[':authority']) fields.host = q.headers[':authority'];
    const up = http.request({ host: '127.0.0.1', port: process.env.APP, method: q.method, path: q.url, headers: fields, agent: false }, (a) => {
      for (const k of ['connection', 'keep-alive', 'transfer-encoding']) delete a.headers[k];
      s.writeHead(a.statusCode, a.headers);
      a.pipe(s);
      s.on('close', () => a.destroy());
    });
    up.on('error', () => s.destroy());
    q.on('error', () => up.destroy());
    q.on('aborted', () => up.destroy());
    q.pipe(up);
  };
  if (q.url === '/late') setTimeout(begin, 1000); else begin();
};
const options = { key: fs.readFileSync(key), cert: fs.readFileSync(cert) };
const server = protocol === 'h2'
  ? http2.createSecureServer({ ...options, allowHTTP1: true }, handler)
  : https.createServer(options, handler);
server.keepAliveTimeout = idle * 1000;
server.maxRequestsPerSocket = protocol === 'h2' ? 0 : 100;
server.listen(port, '127.0.0.1');
