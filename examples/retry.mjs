// axios-retry: a pin refusal is not worth retrying, everything else as usual.
import axios from 'axios'
import axiosRetry from 'axios-retry'
import { findPinningError, pinAxios } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'

const root = createAuthority()
const certificate = root.issue()
const backup = root.issue() // its key is kept offline; its pin is published already
let answers = 0
const flaky = await startHttpsServer(certificate, (_req, res) => res.writeHead(++answers < 3 ? 503 : 200).end())
const impostor = await startHttpsServer(root.issue())
const api = axios.create({ proxy: false })
const pinning = pinAxios(api, { allowedSHAFingerprints: [certificate.fingerprint, backup.pin], tls: { ca: root.pem } })
axiosRetry(api, { retries: 3, retryDelay: () => 1, retryCondition: (error) => !findPinningError(error) && axiosRetry.isNetworkOrIdempotentRequestError(error) })

console.log('flaky:', (await api.get(flaky.url)).status, 'after', answers, 'tries')
await api.get(impostor.url).catch((error) => console.log('impostor:', error.code, 'after', pinning.status().counters.refused, 'try'))
await Promise.all([pinning.close(), flaky.close(), impostor.close()])
