// The agent alone, for https.request and everything that takes an https.Agent.
import * as https from 'node:https'
import { createPinningAgent, findPinningError } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'

const root = createAuthority()
const certificate = root.issue()
const backup = root.issue() // its key is kept offline; its pin is published already
const [genuine, impostor] = [await startHttpsServer(certificate), await startHttpsServer(root.issue())]
const agent = createPinningAgent({ allowedSHAFingerprints: [certificate.fingerprint, backup.pin], tls: { ca: root.pem } })

const get = (/** @type {string} */ url) => new Promise((resolve) => https.get(url, { agent }, (res) => resolve(res.resume().statusCode)).on('error', (error) => resolve(findPinningError(error)?.code)))
console.log('genuine:', await get(genuine.url))
console.log('impostor:', await get(impostor.url), impostor.receivedBytes, 'bytes')
agent.destroy()
await Promise.all([genuine.close(), impostor.close()])
