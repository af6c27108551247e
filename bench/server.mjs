// The servers of the benchmarks, in a process of their own, so that their time is not the client's.
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:https'
import { connect } from 'node:net'
import { createAuthority } from 'axios-ssl-pinning/testing'

const root = createAuthority({ name: 'Bench Root' })
const intermediate = root.issueAuthority()
const big = Buffer.alloc(1 << 16, 'x')
const bigBody = 100 * 1024 * 1024

/** @type {import('node:http').RequestListener} */
const answer = (req, res) => {
  if (req.url === '/reset') return void req.socket.destroy()
  if (req.url === '/big') {
    res.writeHead(200, { 'content-length': bigBody })
    let left = bigBody / big.length
    const more = () => {
      while (left-- > 0) if (!res.write(big)) return void res.once('drain', more)
      res.end()
    }
    return more()
  }
  req.resume().on('end', () => res.end('{"ok":true}'))
}

/** @param {import('node:net').Server} server */
const listen = async (server) => {
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)))
  return /** @type {import('node:net').AddressInfo} */ (server.address()).port
}

const servers = []
for (const kind of /** @type {const} */ (['p256', 'rsa'])) {
  const certificate = intermediate.issue({ key: kind })
  const server = createServer({ cert: certificate.chainPem, key: certificate.keyPem, keepAliveTimeout: 120_000 }, answer)
  servers.push({ kind, port: await listen(server), fingerprint: certificate.fingerprint, pin: certificate.pin })
}

/** Chains of ten times the length: all of it needed, and almost nothing of it needed. */
const chains = []
{
  const deep = Array.from({ length: 8 }).reduce((/** @type {typeof root} */ above) => above.issueAuthority(), root)
  const needed = deep.issue({ key: 'p256' })
  const other = intermediate.issue({ key: 'p256' })
  const strangers = Array.from({ length: 18 }, (_, i) => createAuthority({ name: `Stranger ${i}` }).pem).join('')
  for (const [name, certificate, pin, sent] of /** @type {const} */ ([['8 intermediates', needed, deep.pin, needed.chainPem], ['1 intermediate and 18 strangers', other, intermediate.pin, other.chainPem + strangers]])) {
    const server = createServer({ cert: sent, key: certificate.keyPem, keepAliveTimeout: 120_000 }, answer)
    chains.push({ name, port: await listen(server), fingerprint: certificate.fingerprint, pin })
  }
}

const proxy = createHttpServer().on('connect', (req, client) => {
  const { port } = new URL(`http://${req.url}`)
  const upstream = connect(Number(port), '127.0.0.1', () => client.write('HTTP/1.1 200 OK\r\n\r\n'))
  client.pipe(upstream).pipe(client)
  for (const socket of [client, upstream]) socket.on('error', () => (client.destroy(), upstream.destroy())).on('close', () => (client.destroy(), upstream.destroy()))
})

process.send?.({ servers, chains, proxy: await listen(proxy), ca: root.pem, caPin: intermediate.pin, caPem: intermediate.pem })
process.on('disconnect', () => process.exit())
