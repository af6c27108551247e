// npm start: a genuine server, and an impostor in its place whose certificate comes from a CA that the client trusts just as well.
import { connect, createServer } from 'node:net'
import { pipeline } from 'node:stream'
import axios from 'axios'
import { findPinningError, pinAxios } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'

const publicRoot = createAuthority({ name: 'Public Root CA' })
const hackedRoot = createAuthority({ name: 'Hacked Root CA' })
const certificate = publicRoot.issue({ name: 'localhost' })
const genuine = await startHttpsServer(certificate, (_req, res) => res.end('hello from the genuine server'))
const impostor = await startHttpsServer(hackedRoot.issue({ name: 'localhost' }), (_req, res) => res.end('thank you for your password'))

// The way to the server, which an attacker can lead elsewhere.
let leadsTo = genuine
const way = createServer((socket) => pipeline(socket, connect(leadsTo.port, '127.0.0.1'), socket, () => undefined))
await new Promise((resolve) => way.listen(0, '127.0.0.1', () => resolve(undefined)))
const url = `https://localhost:${/** @type {import('node:net').AddressInfo} */ (way.address()).port}`

const api = axios.create({ proxy: false })
const backup = createAuthority().issue().pin
const pinning = pinAxios(api, {
  allowedSHAFingerprints: [certificate.fingerprint, backup],
  tls: { ca: [publicRoot.pem, hackedRoot.pem] },
  agent: { keepAlive: false },
  onValidCertificate: (report) => console.log('onValidCertificate:', report.host, report.matchedPin),
  onBadCertificate: (report) => console.log('onBadCertificate:', String(report))
})

const answer = await api.get(url)
console.log(`genuine server: ${answer.status} ${answer.data}\n`)

leadsTo = impostor
const failure = await api.post(url, { password: 'secret' }).then(() => undefined, (error) => error)
console.log(`\nimpostor: refused with ${failure?.code}; it received ${impostor.receivedBytes} bytes`)

const without = await axios.post(url, { password: 'secret' }, { proxy: false, httpsAgent: new (await import('node:https')).Agent({ ca: hackedRoot.pem }) })
console.log(`without pins: ${without.status} ${without.data}; the impostor received ${impostor.receivedBytes} bytes`)

const good = answer.status === 200 && findPinningError(failure)?.code === 'ERR_PIN_MISMATCH'
way.close()
await Promise.all([pinning.close(), genuine.close(), impostor.close()])
process.exitCode = good ? 0 : 1
