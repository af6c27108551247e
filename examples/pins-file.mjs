// Pins from a file: JSON with comments, or YAML. What is wrong in it is told with line, column and path.
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import axios from 'axios'
import { findPinningError, loadPins, pinAxios } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'

const root = createAuthority()
const certificate = root.issue({ notAfter: new Date(Date.now() + 9.5 * 86_400_000) })
const backup = createAuthority()
const server = await startHttpsServer(certificate)

const file = join(mkdtempSync(join(tmpdir(), 'pins-')), 'pins.yaml')
writeFileSync(file, `pins:\n  localhost:\n    - ${certificate.pin} # in use\n    - ${backup.pin} # in the safe\n`)

const api = axios.create({ baseURL: server.url, proxy: false })
const pinning = pinAxios(api, { pinsFile: file, tls: { ca: root.pem }, onExpiring: (report) => console.log(`${report.item} of ${report.host}: ${report.daysLeft} days left`) })
console.log('answer:', (await api.get('/')).data)

writeFileSync(file, `pins:\n  localhost:\n    publicKey: [${certificate.pin}]\n`)
try {
  loadPins(file)
} catch (err) {
  console.log(findPinningError(err)?.message)
}
await Promise.all([pinning.close(), server.close()])
