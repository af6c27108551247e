// Pins by host pattern: a CA with a backup, and a self-signed server.
import axios from 'axios'
import { createPinning, findPinningError } from 'axios-ssl-pinning'
import { createAuthority, createSelfSigned, startHttpsServer } from 'axios-ssl-pinning/testing'

const root = createAuthority()
const issuing = root.issueAuthority()
const api = await startHttpsServer(issuing.issue())
const otherRoot = createAuthority() // where certificates would be bought next
const device = createSelfSigned()
const deviceServer = await startHttpsServer(device)

const pinning = createPinning({
  tls: { ca: root.pem },
  pins: {
    localhost: { authorities: [issuing.pem, otherRoot.pin] },
    [`127.0.0.1:${deviceServer.port}`]: { trust: 'pin-only', certificates: [device.fingerprint], publicKeys: [createAuthority().pin] }
  }
})
const client = axios.create({ proxy: false })
pinning.attach(client)

console.log('by its CA:', (await client.get(api.url)).status)
console.log('self-signed:', (await client.get(`https://127.0.0.1:${deviceServer.port}/`)).status)
const refused = await client.get(`https://127.0.0.1:${api.port}/`).catch((error) => error)
console.log('no pins:', findPinningError(refused)?.code)
await Promise.all([pinning.close(), api.close(), deviceServer.close()])
