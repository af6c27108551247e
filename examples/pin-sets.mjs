// New pins while the program runs, from a signed file: the publisher's commands, and a client that follows them.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import axios from 'axios'
import { fileSource, fileStore, findPinningError, pinAxios, pinOf } from 'axios-ssl-pinning'
import { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'

const folder = mkdtempSync(join(tmpdir(), 'pin-sets-'))
const command = join(dirname(createRequire(import.meta.url).resolve('axios-ssl-pinning/package.json')), 'dist/cjs/cli/main.js')
const manifest = (/** @type {string[]} */ ...args) => execFileSync(process.execPath, [command, 'manifest', ...args], { cwd: folder, stdio: 'pipe' })

const root = createAuthority()
const [first, second, spare] = [root.issue(), root.issue(), root.issue()]
const server = await startHttpsServer(second)

manifest('keygen', 'key.pem')
const publish = (/** @type {{ pem: string }} */ certificate) => {
  writeFileSync(join(folder, 'pins.json'), JSON.stringify({ audience: 'example', pins: { localhost: [pinOf(certificate.pem), pinOf(spare.pem)] } }))
  manifest('sign', 'pins.json', '--key', 'key.pem', '--days', '7', '--out', 'pins.jws')
}
publish(first)

/** @type {(version: number) => void} */
let updated = () => {}
const api = axios.create({ baseURL: server.url, proxy: false })
const pinning = pinAxios(api, {
  pins: { localhost: [pinOf(first.pem), pinOf(spare.pem)] },
  tls: { ca: root.pem },
  updates: { source: fileSource(join(folder, 'pins.jws')), store: fileStore(join(folder, 'store')), trustedKeys: [readFileSync(join(folder, 'key.pem.pub'), 'utf8')], audience: 'example', onUpdate: (report) => report.version && updated(report.version) }
})
const reached = (/** @type {number} */ version) => new Promise((resolve) => (updated = (found) => found >= version && resolve(found)))
const ask = () => api.get('/').then(({ status }) => status, (error) => findPinningError(error)?.code)

console.log('version', await reached(1), await ask())
publish(second)
console.log('version', await reached(2), await ask())
await Promise.all([pinning.close(), server.close()])
rmSync(folder, { recursive: true })
