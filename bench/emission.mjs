// What telling costs when nobody listens: no callback, no logger, no channel subscriber, no reportTo, no telemetry.
// node bench/emission.mjs   (after npm run build)
import { channel } from 'node:diagnostics_channel'
import { connect } from 'node:tls'
import { createPinning } from 'axios-ssl-pinning'
import { createAuthority, createSelfSigned, startHttpsServer } from 'axios-ssl-pinning/testing'
import { PolicySet } from '../dist/modules/esm/policy/policy-set.js'
import { Reporter } from '../dist/modules/esm/report/reporter.js'
import { TrustAnchors } from '../dist/modules/esm/verify/anchors.js'
import { PeerRecord } from '../dist/modules/esm/verify/records.js'
import { verifyPeer } from '../dist/modules/esm/verify/verify.js'

const root = createAuthority()
const leaf = root.issue()
const server = await startHttpsServer(leaf)
const pinning = createPinning({ pins: { localhost: [leaf.pin, createSelfSigned().pin] }, tls: { ca: root.pem } })
const socket = connect({ port: server.port, host: 'localhost', ca: root.pem })
await new Promise((resolve) => socket.once('secureConnect', resolve))

const policies = new PolicySet({ pins: { localhost: [leaf.pin, createSelfSigned().pin] } }, 1)
const policy = policies.find('localhost', 443)
const record = new PeerRecord(leaf.x509, new TrustAnchors(root.pem, false))
const peer = verifyPeer({ host: 'localhost', port: 443, serverName: 'localhost', policies, policy, record, leaf: leaf.x509, untrusted: undefined, anchors: record.anchors, restricted: false }, Date.now())

/** As in connect.ts. */
const negotiated = { get tlsVersion() { return this.socket.getProtocol() ?? undefined }, get cipher() { return this.socket.getCipher()?.name }, socket }
/** @type {() => any} */
const verdictOf = () => ({ __proto__: negotiated, socket, host: 'localhost', port: 443, policies, policy, peer, error: undefined, record, leaf: leaf.x509, keyExchange: undefined, resumed: socket.isSessionReused(), durationMs: performance.now() - 1, verificationMs: 0.1, time: new Date(Date.now()), serverName: 'localhost', anchors: record.anchors })
const silent = new Reporter({})
const listening = new Reporter({ onValidCertificate: () => undefined })
listening.events.on('connection:accepted', ({ report }) => void report.cipher)
const answers = channel('http.client.response.finish')
const message = { request: { agent: pinning.agent, host: 'localhost' }, response: { socket, headers: { date: new Date().toUTCString() } } }

const cases = {
  'a request on a kept-alive connection': () => answers.publish(message),
  'a new connection, accepted': () => silent.connection(verdictOf()),
  'for comparison: the same with a report built': () => { if (listening.events.hears('connection:accepted')) listening.connection(verdictOf()) }
}
// Many short rounds: a round that another process has interrupted shows as the maximum, not in the median.
for (const [title, run] of Object.entries(cases)) {
  const rounds = Array.from({ length: 300 }, () => {
    const from = performance.now()
    for (let i = 0; i < 2_000; i++) run()
    return (performance.now() - from) / 2
  })
    .slice(50)
    .sort((x, y) => x - y)
  const at = (/** @type {number} */ share) => rounds[Math.floor(share * (rounds.length - 1))]?.toFixed(3)
  console.log(`${title}: ${at(0.5)} µs (quartiles ${at(0.25)} to ${at(0.75)}, least ${at(0)})`)
}
socket.destroy()
await Promise.all([pinning.close(), server.close()])
process.exit()
