import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)
const folder = join(__dirname, '../examples')

// Each example runs against the built package, by its name, and prints what it promises.
test.each([
  ['start.mjs', /genuine server: 200[^]*the certificate accepted earlier was issued by "CN=Public Root CA"(?![^]*New pin)[^]*refused with ERR_PIN_MISMATCH; it received 0 bytes[^]*without pins: 200 .*received [1-9]\d* bytes/],
  ['fingerprints.mjs', /pinned: localhost true\nanswer: ok/],
  ['host-policies.mjs', /by its CA: 200\nself-signed: 200\nno pins: ERR_PIN_HOST_UNPINNED/],
  ['proxy.mjs', /honest proxy: 200\ndiverting proxy: ERR_PIN_MISMATCH\nthe impostor received 0 bytes/],
  ['pins-file.mjs', /leaf of localhost: 9 days left[^]*pins\.yaml:3:5: pins\.localhost\.publicKey: there is no such option; did you mean "publicKeys"/],
  ['update.mjs', /before: 200\nafter: ERR_PIN_MISMATCH revision 2/],
  ['signed-pins.mjs', /updated to version 1\nunder version 1: 200\nupdated to version 2\nunder version 2: ERR_PIN_MISMATCH\nrejected \(rollback\); version 2 stays/],
  ['pin-sets.mjs', /version 1 ERR_PIN_MISMATCH\nversion 2 200/],
  ['threats.mjs', /ERR_PIN_LOCKDOWN\nLooks like an attack at localhost:\d+ \(critical[^]*received 0 bytes/],
  ['client-certificate.mjs', /I am today\nI am tomorrow/],
  ['agent.mjs', /genuine: 200\nimpostor: ERR_PIN_MISMATCH 0 bytes/],
  ['fetch.mjs', /axios: ok ERR_PIN_MISMATCH\nfetch: ok ERR_PIN_MISMATCH/],
  ['logging.mjs', /"level":40[^]*"decision":"refused"[^]*ERR_PIN_MISMATCH/],
  ['retry.mjs', /flaky: 200 after 3 tries\nimpostor: ERR_PIN_MISMATCH after 1 try/],
  ['prometheus.mjs', /ERR_PIN_MISMATCH\nERR_PIN_HOST_UNPINNED\n[^]*axios_ssl_pinning_connections_total\{server_address="localhost",decision="refused",result="mismatch"/]
])('%s', async (file, output) => {
  const { stdout } = await run(process.execPath, [join(folder, file)], { timeout: 20_000 })
  expect(stdout).toMatch(output)
})
