import axios from 'axios'
import { pinAxios, findPinningError } from '../../lib/index.js'
import { createAuthority } from '../support/pki.js'
import { startServer } from '../support/servers.js'

test('smoke', async () => {
  const root = createAuthority({ name: 'Root' })
  const ca = root.issueAuthority({ name: 'Intermediate' })
  const good = await startServer({ certificate: ca.issue() })
  const leaf = ca.issue()
  const bad = await startServer({ certificate: leaf })
  const valid: unknown[] = [], badReports: unknown[] = []
  const genuine = ca.issue()
  const api = axios.create({ proxy: false })
  const genuineServer = await startServer({ certificate: genuine })
  const pinning = pinAxios(api, { allowedSHAFingerprints: [genuine.fingerprint, genuine.pin], tls: { ca: root.pem }, onValidCertificate: (r) => valid.push(r), onBadCertificate: (r) => badReports.push(r) })
  for (let i = 0; i < 5; i++) {
    const res = await api.get(genuineServer.url, { headers: { connection: 'close' } })
    expect(res.status).toBe(200)
  }
  const error = await api.post(bad.url, 'secret').then(() => undefined, (e) => e)
  console.log(error.code, error.message, findPinningError(error)?.code, pinning.status(), genuineServer.resumed, bad.decryptedBytes)
  console.log(String(valid[0]), String(badReports[0]), JSON.stringify(badReports[0], null, 1))
  await pinning.close()
  await Promise.all([good, bad, genuineServer].map((s) => s.close()))
})
