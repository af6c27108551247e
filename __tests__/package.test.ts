import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { axiosFolder, axiosVersion } from './support/axios-version.js'

// The tarball as its user has it: unpacked into an empty folder, with its dependencies beside it.
const root = join(__dirname, '..')
let home: string

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'axios-ssl-pinning-user-'))
  const [{ filename }] = JSON.parse(execFileSync('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', home], { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })) as [{ filename: string }]
  const modules = join(home, 'node_modules')
  mkdirSync(join(modules, 'axios-ssl-pinning'), { recursive: true })
  execFileSync('tar', ['-xzf', join(home, filename), '-C', join(modules, 'axios-ssl-pinning'), '--strip-components=1'])
  for (const name of readdirSync(join(root, 'node_modules'))) if (!name.startsWith('.')) symlinkSync(name === 'axios' ? axiosFolder : join(root, 'node_modules', name), join(modules, name))
}, 60_000)

afterAll(() => rmSync(home, { recursive: true, force: true }))

const body = `
  const root = createAuthority()
  const certificate = root.issue()
  const server = await startHttpsServer(certificate)
  const impostor = await startHttpsServer(root.issue())
  const api = axios.create({ baseURL: server.url, proxy: false })
  const pinning = pinAxios(api, { allowedSHAFingerprints: [certificate.fingerprint, certificate.pin], tls: { ca: root.pem }, logger: true })
  const codes = [(await api.get('/')).status, await api.get(impostor.url).catch((err) => findPinningError(err)?.code)]
  await Promise.all([pinning.close(), server.close(), impostor.close()])
`

function run(file: string, text: string, command = process.execPath, args: string[] = []): string {
  writeFileSync(join(home, file), text)
  return execFileSync(command, [...args, file], { cwd: home, encoding: 'utf8', timeout: 50_000, stdio: ['ignore', 'pipe', 'pipe'] })
}

test('works as ESM', () => {
  expect(run('a.mjs', `import axios from 'axios'\nimport { findPinningError, pinAxios } from 'axios-ssl-pinning'\nimport { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'\n${body}\nconsole.log(codes.join(), axios.VERSION)`)).toContain(`200,ERR_PIN_MISMATCH ${axiosVersion}`)
})

test('works as CommonJS, and both worlds have the same classes', () => {
  const head = `const axios = require('axios')\nconst { findPinningError, pinAxios } = require('axios-ssl-pinning')\nconst { createAuthority, startHttpsServer } = require('axios-ssl-pinning/testing')\n`
  expect(run('b.cjs', `${head};(async () => {${body}\nconst other = await import('axios-ssl-pinning')\nlet thrown\ntry { pinAxios(axios.create(), { allowedSHAFingerprints: ['x'] }) } catch (err) { thrown = err }\nconsole.log(codes.join(), other.findPinningError({ cause: thrown })?.code, other.PinningError === require('axios-ssl-pinning').PinningError) })()`)).toContain('200,ERR_PIN_MISMATCH ERR_PIN_INVALID true')
})

test.each(['mjs', 'cjs'])('what most programs do not need is loaded when an option or a call asks for it (%s)', (ending) => {
  const take = ending === 'mjs' ? (name: string) => `await import('${name}')` : (name: string) => `require('${name}')`
  const script = `(async () => {
    const { createRequire } = ${take('node:module')}
    const { cache } = createRequire(${ending === 'mjs' ? 'import.meta.url' : '__filename'})
    const ours = () => Object.keys(cache).filter((file) => /axios-ssl-pinning.dist/.test(file)).map((file) => file.replace(/.*dist.cjs./, '').replaceAll('\\\\', '/'))
    const { createPinnedAxios, createPinning, createPinningDispatcher, fileSource, loadPins } = ${take('axios-ssl-pinning')}
    const axios = ${take('axios')}
    const pins = { allowedSHAFingerprints: ['sha256/' + 'A'.repeat(43) + '=', 'sha256/' + 'B'.repeat(42) + 'A='] }
    const early = ours()
    const pinning = createPinning({ ...pins, reportTo: () => undefined, openTelemetry: true })
    createPinningDispatcher(pins)
    const asked = [() => loadPins('no.json'), () => fileSource('')].map((ask) => { try { ask() } catch (error) { return error.code } })
    const error = await createPinnedAxios(pins, { proxy: false }).get('http://127.0.0.1:1/').catch((thrown) => thrown)
    console.log(JSON.stringify({ early, late: ours().filter((file) => !early.includes(file)).sort(), asked, own: error instanceof (axios.AxiosError ?? axios.default.AxiosError), code: error.code }))
    await pinning.close()
  })()`
  const { early, late, asked, own, code } = JSON.parse(run(`late.${ending}`, script)) as { early: string[]; late: string[]; asked: string[]; own: boolean; code: string }
  expect(early.filter((file) => !/^(?:.*core\.cjs|core\.js|index\.js)$/.test(file))).toEqual([])
  expect(late).toEqual(['formats/pins-file.js', 'report/report-queue.js', 'report/telemetry.js', 'transport/dispatcher.js', 'update/parts.js'])
  expect(asked).toEqual(['ERR_PIN_POLICY_INVALID', 'ERR_PIN_POLICY_INVALID'])
  // The axios that a program imports is the one whose instances it gets.
  expect([own, code]).toEqual([true, 'ERR_PIN_BYPASS'])
})

test('a bundler puts it into one file, without the optional peers', () => {
  writeFileSync(join(home, 'bundled.mjs'), `import axios from 'axios'\nimport { findPinningError, pinAxios } from 'axios-ssl-pinning'\nimport { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'\n;(async () => {${body}\nconsole.log(codes.join())})()`)
  const absent = ['undici', '@opentelemetry/api']
  const options = {
    absWorkingDir: home, entryPoints: ['bundled.mjs'], outfile: join(home, 'bundle', 'out.cjs'), bundle: true, platform: 'node', format: 'cjs', logLevel: 'error',
    // As where these are not installed.
    alias: Object.fromEntries(absent.map((name) => [name, `./no-such-folder/${name}`])),
  }
  const script = `require('node:module').createRequire(require.resolve('tsx/package.json'))('esbuild').buildSync(${JSON.stringify(options)})`
  // In a process of its own: it leaves a service behind.
  execFileSync(process.execPath, ['-e', script], { cwd: root, encoding: 'utf8', timeout: 50_000, stdio: ['ignore', 'pipe', 'pipe'] })
  expect(run('bundle/out.cjs', readFileSync(join(home, 'bundle', 'out.cjs'), 'utf8'))).toContain('200,ERR_PIN_MISMATCH')
})

test('every link between its documents leads to a file that is in it, and to a heading', () => {
  const folder = join(home, 'node_modules/axios-ssl-pinning')
  const documents = [...readdirSync(folder), ...readdirSync(join(folder, 'docs')).map((name) => `docs/${name}`)].filter((name) => name.endsWith('.md'))
  const links = documents.flatMap((name) => [...readFileSync(join(folder, name), 'utf8').matchAll(/\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)/g)].map(([, path = '', heading]) => ({ name, path, heading })))
  const dead = links.filter(({ name, path, heading }) => {
    const target = path === '' ? join(folder, name) : join(folder, dirname(name), path)
    if (!existsSync(target)) return true
    return heading !== undefined && !headingsOf(readFileSync(target, 'utf8')).includes(heading)
  })
  expect(links.length).toBeGreaterThan(40)
  expect(dead).toEqual([])
})

/** As GitHub and npm name them. */
function headingsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, '').trim().replaceAll(' ', '-'))
}

test('its command runs', () => {
  const { bin } = JSON.parse(readFileSync(join(home, 'node_modules/axios-ssl-pinning/package.json'), 'utf8')) as { bin: Record<string, string> }
  const main = join(home, 'node_modules/axios-ssl-pinning', bin['axios-ssl-pinning'] as string)
  expect(execFileSync(main, ['--help'], { cwd: home, encoding: 'utf8', timeout: 50_000 })).toMatch(/^Usage: axios-ssl-pinning/)
})

test('works in a plain CommonJS jest suite without flags', () => {
  writeFileSync(join(home, 'package.json'), '{"jest":{"testEnvironment":"node","testMatch":["**/*.suite.js"]}}')
  writeFileSync(join(home, 'c.suite.js'), `const axios = require('axios')\nconst { findPinningError, pinAxios } = require('axios-ssl-pinning')\nconst { createAuthority, startHttpsServer } = require('axios-ssl-pinning/testing')\ntest('pins', async () => {${body}\nexpect(codes).toEqual([200, 'ERR_PIN_MISMATCH']) })`)
  execFileSync(process.execPath, [join(root, 'node_modules/jest/bin/jest.js'), '--rootDir', home], { cwd: home, encoding: 'utf8', timeout: 50_000, stdio: ['ignore', 'pipe', 'pipe'] })
}, 60_000)

test('the example of docs/testing.md is a plain CommonJS jest suite that passes', () => {
  const [, suite] = /```js\n([^]*?)```/.exec(readFileSync(join(root, 'docs/testing.md'), 'utf8')) as unknown as [string, string]
  writeFileSync(join(home, 'package.json'), '{"jest":{"testEnvironment":"node","testMatch":["**/*.suite.js"]}}')
  writeFileSync(join(home, 'docs.suite.js'), suite)
  const { numPassedTests, numTotalTests } = JSON.parse(execFileSync(process.execPath, [join(root, 'node_modules/jest/bin/jest.js'), '--rootDir', home, '--json', 'docs.suite'], { cwd: home, encoding: 'utf8', timeout: 50_000, stdio: ['ignore', 'pipe', 'pipe'] })) as { numPassedTests: number; numTotalTests: number }
  expect([numPassedTests, numTotalTests]).toEqual([8, 8])
}, 60_000)

test('the testing kit’s types hold in TypeScript for both worlds', () => {
  const text = `import { createAuthority, der, faults, generateKey, startHttpsServer, startTlsServer, type CertificateOptions, type KeyKind, type TestServer } from 'axios-ssl-pinning/testing'\nconst kind: KeyKind = { rsa: 3072 }\nconst options: CertificateOptions = { names: ['a.test'], key: generateKey(kind), tbs: (fields) => [...fields, der.none()] }\nexport async function start(): Promise<TestServer[]> { const leaf = createAuthority().issueAuthority({ pathLength: 0 }).issue({ ...faults.expired, ...options }); const server = await startHttpsServer(leaf, (req, res) => void res.end(req.url), { chain: [leaf], minVersion: 'TLSv1.3' }); server.present(leaf); return [server, await startTlsServer(leaf)] }\n// @ts-expect-error a key that does not exist\ncreateAuthority({ key: 'p255' })\n`
  for (const file of ['kit.mts', 'kit.cts']) {
    run(file, text, process.execPath, [join(root, 'node_modules/typescript/lib/tsc.js'), '--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022', '--skipLibCheck', '--types', 'node'])
  }
}, 60_000)

test('its types hold in TypeScript for both worlds', () => {
  const text = `import { pinAxios, type PinReport, type Pinning } from 'axios-ssl-pinning'\nimport { createAuthority } from 'axios-ssl-pinning/testing'\nimport axios from 'axios'\nconst pinning: Pinning = pinAxios(axios.create(), { allowedSHAFingerprints: [createAuthority().pin], onBadCertificate: (report: PinReport) => void report.leaf?.pin, tls: { minVersion: 'TLSv1.3' }, agent: { maxSockets: 3 } })\nvoid pinning.close()\n// @ts-expect-error an option that does not exist\npinAxios(axios, { allowedFingerprints: [] })\n`
  for (const file of ['d.mts', 'd.cts']) {
    run(file, text, process.execPath, [join(root, 'node_modules/typescript/lib/tsc.js'), '--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022', '--skipLibCheck', '--types', 'node'])
  }
}, 60_000)

test('its types are found by TypeScript’s older way of looking too, which reads no "exports"', () => {
  const text = `import { pinAxios } from 'axios-ssl-pinning'\nimport { createAuthority, startHttpsServer } from 'axios-ssl-pinning/testing'\nimport axios from 'axios'\nvoid pinAxios(axios.create(), { allowedSHAFingerprints: [createAuthority().pin] })\nvoid startHttpsServer(createAuthority().issue())\n// @ts-expect-error an option that does not exist\npinAxios(axios, { allowedFingerprints: [] })\n`
  run('e.ts', text, process.execPath, [join(root, 'node_modules/typescript/lib/tsc.js'), '--noEmit', '--strict', '--module', 'commonjs', '--moduleResolution', 'node10', '--ignoreDeprecations', '6.0', '--target', 'es2022', '--skipLibCheck', '--esModuleInterop', '--types', 'node'])
}, 60_000)
