// npm start: a genuine server and an impostor whose certificate comes from a CA that the client trusts just as well.
import axios from 'axios'
import { findPinningError, pinAxios } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'

const publicRoot = createAuthority({ name: 'Public Root CA' })
const hackedRoot = createAuthority({ name: 'Hacked Root CA' })
const certificate = publicRoot.issue({ name: 'api.example.com' })
const genuine = await startHttpsServer(certificate, (_req, res) => res.end('hello from the genuine server'))
const impostor = await startHttpsServer(hackedRoot.issue({ name: 'api.example.com' }), (_req, res) => res.end('thank you for your password'))

const api = axios.create({ proxy: false })
const backup = createAuthority().issue().pin
const pinning = pinAxios(api, {
  allowedSHAFingerprints: [certificate.fingerprint, backup],
  tls: { ca: [publicRoot.pem, hackedRoot.pem] },
  onValidCertificate: (report) => console.log('onValidCertificate:', report.host, report.matchedPin),
  onBadCertificate: (report) => console.log('onBadCertificate:', String(report))
})

const answer = await api.get(genuine.url)
console.log(`genuine server: ${answer.status} ${answer.data}\n`)

const failure = await api.post(impostor.url, { password: 'secret' }).then(() => undefined, (error) => error)
console.log(`\nimpostor: refused with ${failure?.code}; it received ${impostor.receivedBytes} bytes`)

const without = await axios.post(impostor.url, { password: 'secret' }, { proxy: false, httpsAgent: new (await import('node:https')).Agent({ ca: hackedRoot.pem }) })
console.log(`without pins: ${without.status} ${without.data}; the impostor received ${impostor.receivedBytes} bytes`)

const good = answer.status === 200 && findPinningError(failure)?.code === 'ERR_PIN_MISMATCH'
await Promise.all([pinning.close(), genuine.close(), impostor.close()])
process.exitCode = good ? 0 : 1
