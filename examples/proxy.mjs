// Through a proxy: the pins hold inside the tunnel, so a proxy that leads elsewhere gets nothing out of it.
import axios from 'axios'
import { connect } from 'node:net'
import { createServer } from 'node:http'
import { pinAxios } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'

const root = createAuthority()
const certificate = root.issue()
const backup = root.issue() // its key is kept offline; its pin is published already
const server = await startHttpsServer(certificate, (_req, res) => res.end('hello'))
const impostor = await startHttpsServer(root.issue())

const api = axios.create()
pinAxios(api, { allowedSHAFingerprints: [certificate.fingerprint, backup.pin], tls: { ca: root.pem } })

for (const { name, port } of [{ name: 'honest', port: server.port }, { name: 'diverting', port: impostor.port }]) {
  const proxy = createServer().on('connect', (_req, client) => {
    const upstream = connect(port, '127.0.0.1', () => client.write('HTTP/1.1 200 OK\r\n\r\n'))
    client.pipe(upstream).pipe(client).on('error', () => upstream.destroy())
  })
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', () => resolve(undefined)))
  process.env['HTTPS_PROXY'] = `http://127.0.0.1:${/** @type {import('node:net').AddressInfo} */ (proxy.address()).port}`
  console.log(`${name} proxy:`, await api.get(server.url).then((answer) => answer.status, (error) => error.code))
  proxy.close()
}
console.log(`the impostor received ${impostor.receivedBytes} bytes`)
process.exit()
