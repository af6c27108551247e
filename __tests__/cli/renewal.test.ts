import { spawnSync } from 'node:child_process'
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { loadPins, pinOf } from '../../lib/index.js'
import { hasOpenssl } from '../support/openssl.js'
import { createAuthority, generateKey } from '../support/pki.js'
import type { CertificateOptions, IssuedCertificate } from '../support/pki.js'
import { runCommand } from '../support/terminal.js'
import type { Ran, RunOptions } from '../support/terminal.js'

const root = createAuthority()
const host = 'api.example.com'
const backup = createAuthority().pin
const day = 86_400_000

let folder: string
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'renewal-'))))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const issue = (options: CertificateOptions = {}): IssuedCertificate => root.issue({ names: [host], ...options })

function write(name: string, text: string): string {
  const path = join(folder, name)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  return path
}

/** As certbot saves them: links to a version in the archive. */
function certbotLive(...versions: IssuedCertificate[]): string {
  const live = join(folder, 'live', host)
  mkdirSync(live, { recursive: true })
  for (const [index, certificate] of versions.entries()) {
    const texts = { privkey: certificate.keyPem, cert: certificate.pem, chain: root.pem, fullchain: certificate.chainPem }
    for (const [kind, text] of Object.entries(texts)) write(`archive/${host}/${kind}${index + 1}.pem`, text)
  }
  for (const kind of ['privkey', 'cert', 'chain', 'fullchain']) symlinkSync(`../../archive/${host}/${kind}${versions.length}.pem`, join(live, `${kind}.pem`))
  return live
}

const jsonPins = (pins: unknown, refresh: unknown = { spreadMs: day, graceMs: day }): string => write('pins.json', JSON.stringify({ pins, refresh }, undefined, 2))
const plan = (pins: string, live: string, ...args: string[]): Promise<Ran> => runCommand(['renewal', 'plan', pins, '--host', host, '--live', live, ...args])
const hook = (pins: string, args: string[], options?: RunOptions): Promise<Ran> => runCommand(['renewal', 'hook', pins, ...args], options)
const refreshOf = (pins: string): any => (JSON.parse(readFileSync(pins, 'utf8')) as { refresh: unknown }).refresh

describe('plan', () => {
  test('makes a key and its request, adds its pin, notes when, and finds all of it again', async () => {
    const current = issue()
    const live = certbotLive(current)
    const pins = jsonPins({ [host]: { publicKeys: [current.pin, backup] } })
    const first = await plan(pins, live, '--json', '--require-safe')
    expect(first).toMatchObject({ code: 1, json: { host, pattern: host, inUse: current.pin, made: true, safe: false, dropped: [], warnings: [] } })
    const { next, keyFile, csrFile, safeAt } = first.json as Record<string, string>
    expect([pinOf(readFileSync(keyFile as string)), pinOf(readFileSync(csrFile as string))]).toEqual([next, next])
    expect(statSync(keyFile as string).mode & 0o777).toBe(0o600)
    expect(loadPins(pins).pins?.[host]).toEqual({ publicKeys: [current.pin, backup, next] })
    const announced = refreshOf(pins).hosts[host].announced[next as string] as string
    expect(Date.parse(safeAt as string) - Date.parse(announced)).toBe(day)
    expect(refreshOf(pins).hosts[host].inUse).toBe(current.pin)

    const text = readFileSync(pins, 'utf8')
    const again = await plan(pins, live, '--json')
    expect(again).toMatchObject({ code: 0, json: { next, made: false, safe: false, safeAt } })
    expect(readFileSync(pins, 'utf8')).toBe(text)
    writeFileSync(pins, text.replace(announced, new Date(Date.now() - day - 1_000).toISOString()))
    expect(await plan(pins, live, '--json', '--require-safe')).toMatchObject({ code: 0, json: { next, safe: true } })
  })

  test('keeps the comments, the order and the style of JSONC and YAML', async () => {
    const current = issue()
    const live = certbotLive(current)
    const json = write('pins.jsonc', `// head\n{\n    // why\n    "pins": {\n        "${host}": [\n            "${current.pin}", // in use\n            "${backup}" // in the safe\n        ], // end\n    }\n}\n`)
    const { json: { next } } = await plan(json, live, '--json')
    const jsonText = readFileSync(json, 'utf8')
    for (const part of ['// head\n{\n    // why\n', `            "${current.pin}", // in use\n`, '// in the safe', '// end', `"${next}"`]) expect(jsonText).toContain(part)
    const yaml = write('pins.yaml', `# head\nmode: enforce # always\n\npins:\n  # the shop\n  ${host}:\n    publicKeys:\n      - ${current.pin} # in use\n      - "${backup}" # in the safe\n`)
    await plan(yaml, live)
    expect(readFileSync(yaml, 'utf8')).toMatch(new RegExp(`^# head\nmode: enforce # always\n\npins:\n  # the shop\n  ${host}:\n    publicKeys:\n      - \\S+ # in use\n      - "\\S+" # in the safe\n      - sha256/\\S+\nrefresh:\n  hosts:\n    ${host}:\n`))
    expect(loadPins(yaml).pins?.[host]).toEqual({ publicKeys: [current.pin, backup, next] })
  })

  test.each<[string, (certificate: IssuedCertificate) => Record<string, string>, string]>([
    ['certbot, the folder above', ({ chainPem, keyPem }) => ({ [`live/${host}/fullchain.pem`]: chainPem, [`live/${host}/privkey.pem`]: keyPem }), 'live'],
    ['lego', ({ chainPem, keyPem }) => ({ [`certificates/${host}.crt`]: chainPem, [`certificates/${host}.key`]: keyPem, [`certificates/${host}.issuer.crt`]: root.pem }), 'certificates'],
    ['lego, the folder above', ({ chainPem, keyPem }) => ({ [`certificates/${host}.crt`]: chainPem, [`certificates/${host}.key`]: keyPem }), '.'],
    ['acme.sh', ({ chainPem, pem, keyPem }) => ({ [`${host}_ecc/fullchain.cer`]: chainPem, [`${host}_ecc/${host}.cer`]: pem, [`${host}_ecc/${host}.key`]: keyPem }), '.'],
    ['Caddy', ({ chainPem, keyPem }) => ({ [`certificates/acme-v02.api.letsencrypt.org-directory/${host}/${host}.crt`]: chainPem, [`certificates/acme-v02.api.letsencrypt.org-directory/${host}/${host}.key`]: keyPem, [`certificates/acme-v02.api.letsencrypt.org-directory/other.example.com/other.example.com.crt`]: root.issue({ names: ['other.example.com'] }).pem }), '.']
  ])('finds the certificate where %s keeps it', async (_, files, live) => {
    const current = issue()
    for (const [name, text] of Object.entries(files(current))) write(name, text)
    expect(await plan(jsonPins({ [host]: [current.pin, backup] }), join(folder, live), '--json')).toMatchObject({ code: 0, json: { inUse: current.pin, warnings: [] } })
  })

  const kinds = ['rsa', 'p256', 'p384', 'ed25519'] as const
  ;(hasOpenssl ? test.each(kinds) : test.skip.each(kinds))('its request for a key like the present one (%s) holds in openssl’s eyes, with the same names', async (kind) => {
    const current = issue({ key: kind, names: [host, 'www.example.com', '10.0.0.1'] })
    const live = certbotLive(current)
    const { json } = await plan(jsonPins({ [host]: [current.pin, backup] }), live, '--json')
    const { status, stdout, stderr } = spawnSync('openssl', ['req', '-in', json.csrFile, '-verify', '-noout', '-text'], { encoding: 'utf8' })
    expect([status, `${stdout}${stderr}`]).toEqual([0, expect.stringMatching(/verify OK/i)])
    expect(stdout).toContain(`DNS:${host}, DNS:www.example.com, IP Address:10.0.0.1`)
  })

  test('tells what is unwise: a certificate in use that no pin covers, or that ends before the pin has spread', async () => {
    const live = certbotLive(issue({ notAfter: new Date(Date.now() + day / 2) }))
    const { stderr, code } = await plan(jsonPins({ [host]: [backup] }, {}), live)
    expect(code).toBe(0)
    expect(stderr).toMatch(/is not covered by pins that every client knows\n.*before the pin has spread; renew with the same key meanwhile\n.*does not say refresh.spreadMs; a day is assumed\n$/)
  })

  test('a key that was used up is replaced; one that cannot be used is not overwritten', async () => {
    const current = issue()
    const live = certbotLive(current)
    const pins = jsonPins({ [host]: [current.pin, backup] })
    const keyFile = write('next.pem', current.keyPem)
    const { json } = await plan(pins, live, '--json', '--next-key', keyFile)
    expect(json).toMatchObject({ made: true })
    expect(pinOf(readFileSync(keyFile))).not.toBe(current.pin)
    writeFileSync(keyFile, 'my diary')
    expect(await plan(pins, live, '--next-key', keyFile)).toMatchObject({ code: 64, stderr: expect.stringContaining('holds no private key') })
    expect(readFileSync(keyFile, 'utf8')).toBe('my diary')
  })

  test('an alias in YAML belongs to other hosts too, and is left alone', async () => {
    const current = issue()
    const pins = write('pins.yaml', `pins:\n  other.example.com: &shared [${current.pin}, ${backup}]\n  ${host}: *shared\n`)
    const text = readFileSync(pins, 'utf8')
    expect(await plan(pins, certbotLive(current))).toMatchObject({ code: 64, stderr: expect.stringContaining('it is an alias') })
    expect(readFileSync(pins, 'utf8')).toBe(text)
  })

  test.each([
    ['a host without pins', ['--host', 'other.example.com'], 64, /has no pins for other.example.com/],
    ['a folder without certificates', ['--host', host, '--live', tmpdir()], 64, /holds no certificate for api.example.com/],
    ['no folder', ['--host', host, '--live', '/nowhere'], 64, /is not a folder/],
    ['a next key that cannot be written', ['--host', host, '--next-key', '/nowhere/next.pem'], 64, /\/nowhere\/next\.pem.*ENOENT: no such file or directory$/m],
    ['no host', [], 64, /required option '--host/]
  ])('one line for %s', async (_, args, code, stderr) => {
    const current = issue()
    const live = certbotLive(current)
    const ran = await runCommand(['renewal', 'plan', jsonPins({ [host]: [current.pin, backup] }), ...(args.includes('--live') ? [] : ['--live', live]), ...args])
    expect(ran).toMatchObject({ code, stdout: '', stderr: expect.stringMatching(stderr) })
    expect(ran.stderr.trim()).not.toContain('\n')
  })
})

describe('hook', () => {
  test('lets a certificate with the same key through, notes its key, and deploys it', async () => {
    const current = issue()
    const live = certbotLive(current)
    const pins = jsonPins({ [host]: [current.pin, backup] })
    const to = join(folder, 'served')
    const ran = await hook(pins, ['--deploy-to', to], { env: { RENEWED_LINEAGE: live, RENEWED_DOMAINS: host } })
    expect(ran).toMatchObject({ code: 0, stdout: expect.stringContaining(`covered  ${current.pin}  ${host}\ndeployed to ${to}`) })
    expect(readFileSync(join(to, 'fullchain.pem'), 'utf8')).toBe(current.chainPem)
    expect(pinOf(readFileSync(join(to, 'privkey.pem')))).toBe(current.pin)
    expect(statSync(join(to, 'privkey.pem')).mode & 0o777).toBe(0o600)
    expect(refreshOf(pins).hosts[host]).toEqual({ inUse: current.pin })
  })

  test('a key that was never announced is stopped: nothing is deployed, certbot is back at the last covered version', async () => {
    const good = issue()
    const live = certbotLive(good, issue(), issue())
    const pins = jsonPins({ [host]: [good.pin, backup] })
    const text = readFileSync(pins, 'utf8')
    const ran = await hook(pins, ['--live', live, '--deploy-to', join(folder, 'served'), '--roll-back'])
    expect(ran).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/no pin of api.example.com covers the new certificate .* never announced.*holds the certificate of version 1 again\n$/) })
    expect(readdirSync(folder)).not.toContain('served')
    expect(['privkey', 'cert', 'chain', 'fullchain'].map((kind) => readlinkSync(join(live, `${kind}.pem`)))).toEqual(['privkey', 'cert', 'chain', 'fullchain'].map((kind) => `../../archive/${host}/${kind}4.pem`))
    expect([readFileSync(join(live, 'fullchain.pem'), 'utf8'), pinOf(readFileSync(join(live, 'privkey.pem')))]).toEqual([good.chainPem, good.pin])
    expect(readFileSync(pins, 'utf8')).toBe(text)
  })

  test("finds the only certificate in certbot's live folder without being told the host, and asks for it where there are several", async () => {
    const current = issue()
    const live = certbotLive(current)
    write('live/README', 'the folders hold certificates')
    const pins = jsonPins({ [host]: { publicKeys: [current.pin, backup] } })
    expect(await hook(pins, ['--live', dirname(live), '--json'])).toMatchObject({ code: 0, json: { covered: true, pin: current.pin, certificateFile: join(live, 'fullchain.pem') } })
    write('live/other.example.com/fullchain.pem', issue().chainPem)
    const several = await hook(pins, ['--live', dirname(live)])
    expect([several.code, several.stderr]).toEqual([64, expect.stringMatching(/live holds the certificates of several names \((?:api|other)\.example\.com, (?:api|other)\.example\.com\); right would be --host, or the folder of one of them\n$/)])
    expect(await hook(pins, ['--live', dirname(live), '--host', host])).toMatchObject({ code: 0 })
  })

  test('a pin that was announced too lately does not count', async () => {
    const next = issue()
    const announced = new Date(Date.now() - day / 2).toISOString()
    const pins = jsonPins({ [host]: [backup, next.pin] }, { spreadMs: day, hosts: { [host]: { announced: { [next.pin]: announced } } } })
    const live = certbotLive(next)
    expect(await hook(pins, ['--live', live])).toMatchObject({ code: 1, stderr: expect.stringContaining(`deploy from ${new Date(Date.parse(announced) + day).toISOString()}`) })
    writeFileSync(pins, readFileSync(pins, 'utf8').replace(String(day), String(day / 4)))
    expect(await hook(pins, ['--live', live])).toMatchObject({ code: 0 })
  })

  test('the old pin is retired, kept for its grace period, and then dropped; backups stay', async () => {
    const former = issue()
    const next = issue()
    const pins = jsonPins({ [host]: { publicKeys: [former.pin, backup, next.pin] } }, { spreadMs: 1, graceMs: day, hosts: { [host]: { inUse: former.pin } } })
    const live = certbotLive(next)
    expect(await hook(pins, ['--live', live, '--json'])).toMatchObject({ code: 0, json: { pin: next.pin, dropped: [] } })
    expect(refreshOf(pins).hosts[host]).toEqual({ inUse: next.pin, retired: { [former.pin]: expect.any(String) } })
    expect(loadPins(pins).pins?.[host]).toEqual({ publicKeys: [former.pin, backup, next.pin] })
    writeFileSync(pins, readFileSync(pins, 'utf8').replace(/("retired": \{\s+"[^"]+": )"[^"]+"/, `$1"${new Date(Date.now() - day - 1).toISOString()}"`))
    expect(await hook(pins, ['--live', live, '--json'])).toMatchObject({ code: 0, json: { dropped: [former.pin] } })
    expect(loadPins(pins).pins?.[host]).toEqual({ publicKeys: [backup, next.pin] })
    expect(refreshOf(pins).hosts[host]).toMatchObject({ inUse: next.pin, retired: {} })
  })

  test('the last pin of a host stays, whatever is noted of it', async () => {
    const former = issue()
    const pins = jsonPins({ [host]: [former.pin], 'b.test': [backup] }, { graceMs: 0, hosts: { [host]: { retired: { [former.pin]: '2020-01-01' } } } })
    expect(await plan(pins, certbotLive(issue()), '--json')).toMatchObject({ code: 0, json: { dropped: [] } })
    expect(loadPins(pins).pins?.[host]).toContain(former.pin)
  })

  test('becomes the next version of a certbot lineage, as certbot would have saved it', async () => {
    const former = issue()
    const next = issue()
    const live = certbotLive(former)
    const cert = write('new/fullchain.pem', next.chainPem + root.pem)
    const key = write('new/key.pem', next.keyPem)
    expect(await hook(jsonPins({ [host]: [former.pin, next.pin] }), ['--cert', cert, '--key', key, '--deploy-to', live])).toMatchObject({ code: 0 })
    expect(lstatSync(join(live, 'privkey.pem')).isSymbolicLink()).toBe(true)
    expect(readlinkSync(join(live, 'fullchain.pem'))).toBe(`../../archive/${host}/fullchain2.pem`)
    expect([readFileSync(join(live, 'cert.pem'), 'utf8'), readFileSync(join(live, 'chain.pem'), 'utf8'), pinOf(readFileSync(join(live, 'privkey.pem')))]).toEqual([next.pem, root.pem, next.pin])
  })

  test('knows what lego and acme.sh say in the environment', async () => {
    const current = issue()
    const pins = jsonPins({ [host]: [current.pin, backup] })
    const cert = write('a.crt', current.chainPem)
    const key = write('a.key', current.keyPem)
    expect(await hook(pins, [], { env: { LEGO_CERT_PATH: cert, LEGO_CERT_KEY_PATH: key } })).toMatchObject({ code: 0 })
    expect(await hook(pins, [], { env: { CERT_FULLCHAIN_PATH: cert, CERT_KEY_PATH: key } })).toMatchObject({ code: 0 })
    expect(await hook(pins, [])).toMatchObject({ code: 64, stderr: expect.stringContaining('the new certificate is not known') })
  })

  test('every pinned host of the certificate must be covered: patterns, the list for all hosts, authorities', async () => {
    const issuing = root.issueAuthority()
    const certificate = issuing.issue({ names: [host, 'www.example.com', '*.shop.example.com', 'elsewhere.test'] })
    const live = certbotLive(certificate)
    const covered = [certificate.pin, backup]
    const run = async (policy: object, ...args: string[]): Promise<[number, string]> => {
      const { code, stderr } = await hook(write('all.json', JSON.stringify(policy)), ['--live', live, ...args])
      return [code, stderr]
    }
    expect(await run({ pins: { [host]: covered, 'www.example.com': [backup] } })).toEqual([1, expect.stringContaining('no pin of www.example.com covers')])
    expect(await run({ pins: { [host]: covered, '*.shop.example.com': [backup] } })).toEqual([1, expect.stringContaining('no pin of *.shop.example.com covers')])
    expect(await run({ pins: { [host]: covered }, allowedSHAFingerprints: [backup] })).toEqual([1, expect.stringContaining('no pin of allowedSHAFingerprints covers')])
    expect(await run({ pins: { 'unrelated.test': covered } })).toEqual([1, expect.stringMatching(/no host of the certificate \(.*\) is pinned/)])
    expect(await run({ pins: { [host]: { publicKeys: covered, rejected: [issuing.pin] } } }, '--ca', write('root.pem', root.pem))).toEqual([1, expect.stringContaining(`${host} rejects ${issuing.pin}`)])
    // A leaf is not an authority.
    expect(await run({ pins: { [host]: { authorities: [certificate.pin, backup] } } }, '--ca', join(folder, 'root.pem'))).toEqual([1, expect.stringContaining('covers')])
    // A CA's pin covers whatever key it certifies, if the chain is real.
    expect(await run({ pins: { [host]: { authorities: [issuing.pin] } } }, '--ca', join(folder, 'root.pem'))).toEqual([0, ''])
    expect(await run({ pins: { [host]: { authorities: [root.pem, backup] } } })).toEqual([0, ''])
    expect(await run({ pins: { [host]: { authorities: [createAuthority().pem, backup] } } })).toEqual([1, expect.stringContaining('covers')])
    expect(await run({ pins: { [host]: { authorities: [issuing.pin] } } })).toEqual([1, expect.stringContaining('covers')])
  })

  test('what no server should be given is stopped: another key, an expired certificate, another host', async () => {
    const current = issue()
    const pins = jsonPins({ [host]: [current.pin, backup] })
    const cert = write('a.pem', current.chainPem)
    expect(await hook(pins, ['--cert', cert, '--key', write('b.key', issue().keyPem)])).toMatchObject({ code: 1, stderr: expect.stringContaining('is not the key of the certificate') })
    const key = generateKey('p256')
    const old = issue({ key, notBefore: new Date(Date.now() - 3 * day), notAfter: new Date(Date.now() - day) })
    expect(await hook(jsonPins({ [host]: [old.pin, backup] }), ['--cert', write('c.pem', old.chainPem)])).toMatchObject({ code: 1, stderr: expect.stringContaining('has expired') })
    expect(await hook(jsonPins({ [host]: [current.pin, backup], 'b.test': [current.pin] }), ['--cert', cert, '--host', 'b.test'])).toMatchObject({ code: 1, stderr: expect.stringContaining('not for b.test') })
    expect(await hook(pins, ['--cert', folder])).toMatchObject({ code: 64, stderr: expect.stringContaining('is a directory') })
    if (process.platform !== 'win32') {
      spawnSync('mkfifo', [join(folder, 'fifo')])
      // Nobody writes to it: nothing waits for that.
      for (const args of [['--cert', join(folder, 'fifo')], ['--cert', '/dev/zero'], ['--cert', cert, '--key', join(folder, 'fifo')], ['--cert', cert, '--ca', join(folder, 'fifo')]]) expect(await hook(pins, args)).toMatchObject({ code: 64, stderr: expect.stringMatching(/is not a regular file|holds no private key/) })
    }
    expect(await hook(pins, ['--cert', cert, '--deploy-to', join(folder, 'x')])).toMatchObject({ code: 64, stderr: expect.stringContaining('right would be --key') })
  })
})
