import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import axios from 'axios'
import { PinsFileInvalidError, createPinning, findPinningError, loadPins, pinAxios } from '../../lib/index.js'
import { parsePinsFile, readPinsFile } from '../../lib/formats/pins-file.js'
import { pinsSchema } from '../../lib/formats/pins-schema.js'
import { startHttpsServer } from '../../lib/testing/index.js'
import { createAuthority } from '../support/pki.js'

const folder = mkdtempSync(join(tmpdir(), 'pins-file-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let files = 0
function write(text: string | Buffer, ending = 'json'): string {
  const path = join(folder, `${++files}.${ending}`)
  writeFileSync(path, text)
  return path
}

const root = createAuthority()
const leaf = root.issue()
const backup = createAuthority().pin

function problemsOf(text: string, ending = 'json'): Array<{ at: string; path: string; reason: string }> {
  try {
    parsePinsFile(text, `pins.${ending}`)
    return []
  } catch (error) {
    if (!(error instanceof PinsFileInvalidError)) throw error
    return error.problems.map(({ line, column, path, reason }) => ({ at: `${line}:${column}`, path, reason }))
  }
}

test('the published schema is the one that files are checked against', () => {
  expect(JSON.parse(readFileSync(join(__dirname, '../../schemas/pins.schema.json'), 'utf8'))).toEqual(pinsSchema)
})

test('JSON with comments and YAML say the same, every field of a policy included', () => {
  const json = `// pins of the shop
  { "mode": "report-only", "unpinnedHosts": "allow", "requireBackupPin": true, /* every host */ "allowedSHAFingerprints": ["${leaf.fingerprint}", "${backup}"],
    "pins": { "api.example.com": { "publicKeys": ["${leaf.pin}"], "certificates": ["${leaf.fingerprint}"], "authorities": [${JSON.stringify(root.pem)}], "pins": ["${backup}"], "rejected": ["${createAuthority().pin}"],
      "mode": "enforce", "expires": "2030-01-01", "onExpiry": "allow", "trust": "pki", "includeSubDomains": true, }, }, "refresh": { "spreadMs": 60000 } }`
  const { policy, refresh } = parsePinsFile(json, 'a.json')
  const yaml = `# pins of the shop\nmode: report-only\nunpinnedHosts: allow\nrequireBackupPin: true\nallowedSHAFingerprints: [${leaf.fingerprint}, ${backup}]\nrefresh: {spreadMs: 60000}\npins:\n  api.example.com:\n    publicKeys:\n      - ${leaf.pin} # the leaf\n    certificates: [ '${leaf.fingerprint}' ]\n    authorities:\n      - |\n${root.pem.replaceAll(/^/gm, '        ')}\n    pins: [${backup}]\n    rejected: [${policy.pins && (policy.pins['api.example.com'] as { rejected: string[] }).rejected[0]}]\n    mode: enforce\n    expires: 2030-01-01\n    onExpiry: allow\n    trust: pki\n    includeSubDomains: true\n`
  expect(JSON.parse(JSON.stringify(parsePinsFile(yaml, 'a.yml').policy).replaceAll('\\n"', '"'))).toEqual(JSON.parse(JSON.stringify(policy).replaceAll('\\n"', '"')))
  expect(parsePinsFile(yaml, 'a.yml').refresh).toEqual(refresh)
  const pinning = createPinning(policy)
  expect(pinning.policyFor('shop.api.example.com')).toMatchObject({ mode: 'enforce', expires: '2030-01-01T00:00:00.000Z', onExpiry: 'allow', pins: [leaf.fingerprint, leaf.pin, backup, root.pin] })
})

test('a pinned instance takes its pins from the file, and the rest from the program', async () => {
  const server = await startHttpsServer(leaf)
  const impostor = await startHttpsServer(root.issue())
  const api = axios.create({ baseURL: server.url, proxy: false })
  const refused: string[] = []
  const pinning = pinAxios(api, { pinsFile: write(`pins:\n  localhost: [${leaf.pin}, ${backup}]\n`, 'yaml'), tls: { ca: root.pem }, onBadCertificate: (report) => void refused.push(report.result) })
  expect((await api.get('/')).status).toBe(200)
  expect(await api.get(impostor.url).catch((err: unknown) => findPinningError(err)?.code)).toBe('ERR_PIN_MISMATCH')
  expect([impostor.receivedBytes, refused]).toEqual([0, ['mismatch']])
  // An update from the program replaces the file's pins.
  pinning.update({ localhost: [backup, createAuthority().pin] })
  expect(await api.get('/').catch((err: unknown) => findPinningError(err)?.code)).toBe('ERR_PIN_MISMATCH')
  await Promise.all([pinning.close(), server.close(), impostor.close()])
})

test('what program and file both say: pins are an error, a setting is the program’s', () => {
  const pinsFile = pathToFileURL(write(`{ "mode": "enforce", "unpinnedHosts": "allow", "allowedSHAFingerprints": ["${leaf.pin}", "${backup}"] }`))
  expect(() => createPinning({ pinsFile, pins: { 'a.com': [backup] } })).toThrow(/^pins: the pins come from pinsFile/)
  expect(() => createPinning({ pinsFile, allowedSHAFingerprints: [backup] })).toThrow(/^allowedSHAFingerprints: the pins come from pinsFile/)
  expect(createPinning({ pinsFile, mode: 'report-only' }).status()).toMatchObject({ mode: 'report-only', unpinnedHosts: 'allow' })
  expect(createPinning({ ...loadPins(pinsFile) }).status()).toMatchObject({ mode: 'enforce', unpinnedHosts: 'allow' })
})

test('everything wrong is told with its line, column and path', () => {
  expect(problemsOf(`{\n  "mode": "enforced",\n  "pins": {\n    "api.example.com": { "publicKey": [], "expires": 4 },\n    "b.com": 5, "c.com": { "includeSubDomains": "yes" }\n  },\n  "tls": {}, "refresh": { "spreadMs": -1 }\n}`)).toEqual([
    { at: '2:11', path: 'mode', reason: `"enforced" is not possible; right would be 'enforce' or 'report-only' or 'off'` },
    { at: '4:26', path: 'pins["api.example.com"].publicKey', reason: 'there is no such option; did you mean "publicKeys"?' },
    { at: '4:54', path: 'pins["api.example.com"].expires', reason: 'must be a string, not 4' },
    { at: '5:14', path: 'pins["b.com"]', reason: 'must be an array of pins or an object, not 5' },
    { at: '5:49', path: 'pins["c.com"].includeSubDomains', reason: 'must be true or false, not a string' },
    { at: '7:3', path: 'tls', reason: 'a file cannot say this; right would be to give it to pinAxios beside pinsFile' },
    { at: '7:39', path: 'refresh.spreadMs', reason: '-1 must be >= 0' }
  ])
  expect(problemsOf(`pins:\n  api.example.com:\n    publicKeys:\n      - ${leaf.pin}\n      - nonsense\n  https://foo.com: [${leaf.pin}]\n  b.com:\n    pins: [${leaf.pin}]\n    expires: 2027-06-31\nrefresh:\n  hosts:\n    b.com:\n      announced:\n        x: 2027-01-01\n        ${leaf.pin}: soon\n      inUse: y\n`, 'yaml')).toMatchObject([
    { at: '5:9', path: 'pins["api.example.com"].publicKeys[1]', reason: expect.stringContaining('Not a pin: "nonsense"') },
    { at: '6:3', path: 'pins["https://foo.com"]', reason: expect.stringContaining('not a URL; right would be "foo.com"') },
    { at: '9:14', path: 'pins["b.com"].expires', reason: expect.stringContaining('does not exist in the calendar') },
    { at: '14:9', path: 'refresh.hosts["b.com"].announced.x', reason: expect.stringContaining('Not a pin') },
    { at: '15:62', reason: expect.stringContaining('is not an ISO date') },
    { at: '16:14', path: 'refresh.hosts["b.com"].inUse' }
  ])
})

test.each([
  ['two patterns for the same hosts', `{ "pins": { "a.com": ["${leaf.pin}"],\n "A.com": ["${leaf.pin}"] } }`, '2:2', /covers the same hosts as "a.com"/],
  ['no pins', '{ "mode": "enforce" }', '1:1', /there are no pins/],
  ['a list without pins', '{ "pins": { "a.com": [] } }', '1:13', /it has no pins/],
  ['a fingerprint among the keys', `{ "pins": { "a.com": { "publicKeys": ["${leaf.fingerprint}"] } } }`, '1:38', /is the fingerprint of a certificate/],
  ['the same pin pinned and rejected', `{ "pins": { "a.com": { "publicKeys": ["${leaf.pin}"], "rejected": ["${leaf.pin}"] } } }`, /^1:/, /both pinned and rejected/],
  ['a missing backup where one is demanded', `{ "requireBackupPin": true, "pins": { "a.com": ["${leaf.pin}"] } }`, '1:1', /no backup pin for a.com/],
  ['a leaf among the authorities', `{ "pins": { "a.com": { "authorities": [${JSON.stringify(leaf.pem)}] } } }`, '1:39', /is not a CA/]
])('what no schema can say: %s', (_, text, at, reason) => {
  expect(problemsOf(text)).toEqual([{ at: typeof at === 'string' ? at : expect.stringMatching(at), path: expect.any(String), reason: expect.stringMatching(reason) }])
})

test.each([
  ['a key twice in JSON', '{ "pins": { "a.com": ["x"],\n  "a.com": ["y"] } }', 'json', '2:3', /the key "a.com" is there twice/],
  ['a key twice in YAML', 'pins:\n  a.com: [x]\n  a.com: [y]\n', 'yaml', '3:3', /the key "a.com" is there twice/],
  ['broken JSON', '{ "pins": {\n  "a.com" ["x"] } }', 'json', '2:11', /not JSON: colon expected/],
  ['broken YAML', 'pins:\n  a.com: [x\nmode: y', 'yaml', /^[23]:/, /not YAML 1.2/],
  ['a tag', 'pins: !!js/function x', 'yaml', '1:7', /YAML tags are not taken/],
  ['two documents', 'a: 1\n---\nb: 2', 'yaml', /^[23]:/, /not YAML 1.2/],
  ['only comments', '// nothing', 'json', /^1:/, /not JSON|no value/],
  ['JSON nested too deeply', '['.repeat(1_000_000), 'json', '1:101', /nested too deeply/],
  ['YAML nested too deeply', '['.repeat(20_000), 'yaml', /^1:/, /nested too deeply/],
  ['YAML whose aliases explode', `a: &a [x,x,x,x,x,x,x,x,x]\n${[...'bcdefghi'].map((name, i) => `${name}: &${name} [${Array(9).fill(`*${'abcdefgh'[i]}`).join()}]`).join('\n')}`, 'yaml', '1:1', /aliases cannot be followed/]
])('refused: %s', (_, text, ending, at, reason) => {
  expect(problemsOf(text, ending)).toEqual([{ at: typeof at === 'string' ? at : expect.stringMatching(at), path: '', reason: expect.stringMatching(reason) }])
})

test('what is no file, no text or too large is refused, and nothing waits for a pipe', () => {
  expect(() => loadPins(join(folder, 'missing'))).toThrow(/missing does not exist/)
  mkdirSync(join(folder, 'directory'), { recursive: true })
  expect(() => loadPins(join(folder, 'directory'))).toThrow(/is a directory/)
  expect(() => loadPins(write(''))).toThrow(/is empty/)
  expect(() => loadPins(write(Buffer.from([0x7b, 0xff, 0x7d])))).toThrow(/not a UTF-8 text/)
  expect(() => loadPins(write(Buffer.alloc(8 * 1024 * 1024 + 1, ' ')))).toThrow(/8388609 bytes; at most 8388608/)
  expect(() => loadPins(5 as never)).toThrow(new TypeError('pinsFile must be the path of a file, not a number'))
  expect(() => loadPins(new URL('https://example.com/pins.json'))).toThrow(TypeError)
  expect(() => createPinning({ pinsFile: '' })).toThrow(TypeError)
  const pipe = join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  expect(() => loadPins(pipe)).toThrow(/not a regular file/)
})

test('a file without a telling name is known by its first character; a BOM is no character', () => {
  expect(readPinsFile(write(`\ufeff{ "pins": { "a.com": ["${leaf.pin}", "${backup}"] } }`, 'conf')).syntax).toBe('json')
  expect(readPinsFile(write(`pins: { a.com: [${leaf.pin}, ${backup}] }`, 'conf')).syntax).toBe('yaml')
})

test('keys of the prototype are names like any other', () => {
  expect(problemsOf('{ "__proto__": { "mode": "off" } }')).toMatchObject([{ at: '1:3', reason: expect.stringContaining('there is no such option') }])
  expect(problemsOf('__proto__: { mode: off }', 'yaml')).toMatchObject([{ at: '1:1', reason: expect.stringContaining('there is no such option') }])
  expect(({} as { mode?: string }).mode).toBeUndefined()
})

test('a private key in the wrong place is not echoed', () => {
  const key = leaf.keyPem
  for (const text of [`{ "pins": { "a.com": [${JSON.stringify(key)}] } }`, `{ "pins": { ${JSON.stringify(key)}: [] } }`, `{ ${JSON.stringify(key)}: 1 }`, `{ "mode": ${JSON.stringify(key)} }`, `{ "pins": { "a.com": { "authorities": [${JSON.stringify(key)}] } } }`, `{ "refresh": { "hosts": { "a.com": { "announced": { ${JSON.stringify(key)}: "x" } } } } }`, `{ ${JSON.stringify(key)}: 1, ${JSON.stringify(key)}: 1 }`]) {
    const shown = JSON.stringify(problemsOf(text))
    expect(shown).toContain('not shown')
    expect(shown).not.toContain(key.split('\n')[1])
  }
})

test.each<[string, (depth: number) => string]>([
  ['explicit keys', (depth) => '? '.repeat(depth)],
  ['lists', (depth) => `${'- '.repeat(depth)}a`],
  ['lists over lines', (depth) => Array.from({ length: depth }, (_, i) => `${' '.repeat(i)}-`).join('\n')],
  ['maps over lines', (depth) => Array.from({ length: depth }, (_, i) => `${' '.repeat(i)}a:`).join('\n')],
  ['brackets', (depth) => '['.repeat(depth)],
  ['brackets with something in them', (depth) => '{a: '.repeat(depth)],
  ['anchors', (depth) => '&a '.repeat(depth)]
])('YAML that is nested too deeply is refused with its place, as often as it is read: %s', (_, text) => {
  for (const depth of [101, 1_000, 3_000, 100_000]) {
    if (text(10).includes('\n') && depth > 3_000) continue
    for (let time = 0; time < 2; time++) expect(() => parsePinsFile(text(depth), 'pins.yaml')).toThrow(/pins\.yaml:\d+:\d+: it is nested too deeply/)
  }
  // What is not that deep is something else that is wrong.
  expect(() => parsePinsFile(text(40), 'pins.yaml')).not.toThrow(/nested|stack/)
})

test('JSON that is nested too deeply is refused with its place, wherever else something is wrong', () => {
  for (const depth of [101, 3_000, 100_000]) {
    for (const text of ['['.repeat(depth), `${'{"a":'.repeat(depth)}{"b":1,"b":2}${'}'.repeat(depth)}`]) expect(() => parsePinsFile(text, 'pins.json')).toThrow(/pins\.json:1:\d+: it is nested too deeply/)
  }
  expect(() => parsePinsFile(`{"pins":{"a.example.com":"${'['.repeat(500)}"}}`, 'pins.json')).not.toThrow(/nested/)
})

test.each(['mode: !!str enforce', 'pins: !!map {}', 'pins: !!binary aGk=', 'pins:\n  a.example.com: !!set {"x"}', '!local {}', 'pins: {a.example.com: [! x]}', '%TAG ! tag:x,2000:\n---\nmode: !e enforce'])('YAML tags are refused: %s', (text) => {
  expect(() => parsePinsFile(text, 'pins.yaml')).toThrow(/pins\.yaml:\d+:\d+: YAML tags are not taken; right would be to write the value without/)
})

test('what only looks like a YAML tag is none', () => {
  for (const text of ['mode: "!!str"', "mode: '!x'", 'mode: a!b', 'mode: |\n  !!str\n', '# !!str\nmode: x']) expect(() => parsePinsFile(text, 'pins.yaml')).not.toThrow(/tags/)
})
