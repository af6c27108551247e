// Reports in a pino logger: refusals at warn, acceptances at debug. `logger: true` makes one for you.
import axios from 'axios'
import { pinAxios } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'
import { pino } from 'pino'

const root = createAuthority()
const certificate = root.issue()
const backup = root.issue() // its key is kept offline; its pin is published already
const impostor = await startHttpsServer(root.issue())
const api = axios.create({ proxy: false })
const pinning = pinAxios(api, { allowedSHAFingerprints: [certificate.fingerprint, backup.pin], tls: { ca: root.pem }, logger: pino({ base: null, timestamp: false }) })

await api.get(impostor.url).catch((error) => console.log(error.code))
await Promise.all([pinning.close(), impostor.close()])
