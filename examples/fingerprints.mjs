// The shortest use, Dio's way: one list for every host, two callbacks.
import axios from 'axios'
import { pinAxios } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'

const root = createAuthority()
const certificate = root.issue()
const backupKey = root.issue() // its key is kept offline; its pin is published already
const server = await startHttpsServer(certificate)

const api = axios.create({ baseURL: server.url, proxy: false })
const pinning = pinAxios(api, {
  allowedSHAFingerprints: [certificate.fingerprint, backupKey.pin],
  tls: { ca: root.pem },
  onValidCertificate: (report) => console.log('pinned:', report.host, report.matchedPin === certificate.fingerprint),
  onBadCertificate: (report) => console.error(String(report))
})

console.log('answer:', (await api.get('/')).data)
await Promise.all([pinning.close(), server.close()])
