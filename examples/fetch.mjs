// One policy for axios over HTTP/2, for axios' fetch adapter, and for fetch itself.
import axios from 'axios'
import { createPinning, findPinningError } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'

const root = createAuthority()
const certificate = root.issue()
const backup = root.issue() // its key is kept offline; its pin is published already
const server = await startHttpsServer(certificate, (_req, res) => res.end('ok'))
const impostor = await startHttpsServer(root.issue(), (_req, res) => res.end('stolen'))

const pinning = createPinning({ allowedSHAFingerprints: [certificate.fingerprint, backup.pin], tls: { ca: root.pem } })
const api = axios.create({ adapter: 'fetch' })
pinning.attach(api)
const codeOf = (/** @type {unknown} */ error) => findPinningError(error)?.code

console.log('axios:', (await api.get(server.url)).data, await api.post(impostor.url, 'secret').catch(codeOf))

const { dispatcher } = pinning // needs the package undici; createPinningDispatcher(options) makes one of its own
const answer = await fetch(server.url, { dispatcher })
console.log('fetch:', await answer.text(), await fetch(impostor.url, { method: 'POST', body: 'secret', dispatcher }).catch(codeOf))

// With a server that speaks it: api.get(url, { adapter: 'http', httpVersion: 2 })
await Promise.all([pinning.close(), server.close(), impostor.close()])
