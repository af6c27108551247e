import { axiosHas } from '../support/axios-version.js'
import { runChild } from '../support/child.js'

// A session of http2 takes over its socket's handle on 'secureConnect', and Node ends the whole process where there is none any
// more: so each of these runs in a process of its own, which has to live to tell the refusal.

const testHttp2 = axiosHas.http2 ? test : test.skip

const script = `
  const { createPinning } = await load('index.js')
  const { createAuthority } = await load('testing/index.js')
  const http2 = require('node:http2')
  const net = require('node:net')
  const tls = require('node:tls')
  const axios = require('axios')
  const root = createAuthority()
  const genuine = root.issue()
  const other = root.issue({ names: input.name ? [input.name] : undefined, ...(input.expired && { notAfter: new Date(Date.now() - 86400000), notBefore: new Date(Date.now() - 2 * 86400000) }) })
  const shown = input.genuine ? genuine : input.selfSigned ? createAuthority() : other
  let bytes = 0
  const secure = { cert: shown.pem, key: shown.keyPem ?? shown.key.export({ type: 'pkcs8', format: 'pem' }), maxVersion: input.version, ...(input.alpn !== 'none' && { ALPNProtocols: ['h2'] }) }
  const server = input.genuine ? http2.createSecureServer(secure) : tls.createServer(secure)
  server.on('secureConnection', (socket) => { socket.on('error', () => {}); if (!input.genuine) socket.on('data', (chunk) => (bytes += chunk.length)) })
  server.on('sessionError', () => {}).on('stream', (stream) => { stream.respond({ ':status': 200 }); stream.end('ok') })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  // Between, so that there is time while an answer is on its way.
  let delayMs = 0
  const relay = net.createServer((near) => {
    const far = net.connect(server.address().port, '127.0.0.1')
    near.pipe(far)
    far.on('data', (chunk) => setTimeout(() => near.write(chunk), delayMs))
    for (const each of [near, far]) each.on('error', () => {}).on('close', () => { near.destroy(); far.destroy() })
  })
  await new Promise((resolve) => relay.listen(0, '127.0.0.1', resolve))
  const act = { close: () => void pinning.close(), withdraw: () => pinning.update({ localhost: { certificates: ['11'.repeat(32), '22'.repeat(32)] } }) }
  const hold = { debug: () => input.onAccepted && act[input.onAccepted](), info() {}, warn() {}, error() {} }
  const pinning = createPinning({ pins: { localhost: { certificates: [genuine.fingerprint, '33'.repeat(32)], ...input.policy } }, mode: input.mode ?? 'enforce', tls: { ca: root.pem }, logger: hold, integrity: 'off' })
  const api = axios.create({ httpVersion: 2, http2Options: { sessionTimeout: 50 }, timeout: 5000 })
  pinning.attach(api)
  const ask = () => api.post('https://localhost:' + relay.address().port + '/', 'secret').then(({ status }) => status, ({ code }) => code)
  const answers = [await ask()]
  if (input.resumed) {
    await new Promise((resolve) => setTimeout(resolve, 250))
    delayMs = 150
    const second = ask()
    await new Promise((resolve) => setTimeout(resolve, 60))
    act.withdraw()
    answers.push(await second)
  }
  report({ answers, bytes })
  process.exit()
`

testHttp2.each<[string, unknown, unknown[]]>([
  ['pin-only: a self-signed impostor', { selfSigned: true, policy: { trust: 'pin-only' } }, ['ERR_PIN_MISMATCH']],
  ['pin-only: an impostor of the same CA', { policy: { trust: 'pin-only' } }, ['ERR_PIN_MISMATCH']],
  ['pin-only: without ALPN', { selfSigned: true, alpn: 'none', policy: { trust: 'pin-only' } }, ['ERR_PIN_MISMATCH']],
  ['pin-only: TLS 1.2', { selfSigned: true, version: 'TLSv1.2', policy: { trust: 'pin-only' } }, ['ERR_PIN_MISMATCH']],
  ['pin-only: a policy that has expired', { selfSigned: true, policy: { trust: 'pin-only', expires: '2020-01-01' } }, ['ERR_PIN_EXPIRED']],
  ['pins withdrawn while a session of TLS 1.3 is resumed', { genuine: true, resumed: true }, [200, 'ERR_PIN_MISMATCH']],
  ['pins withdrawn while a session of TLS 1.2 is resumed', { genuine: true, resumed: true, version: 'TLSv1.2' }, [200, 'ERR_PIN_MISMATCH']],
  ['a logger that closes the pinning', { genuine: true, onAccepted: 'close' }, [expect.stringMatching(/^E/)]]
])('%s', async (_, input, answers) => {
  const { code, signal, stderr, reported } = await runChild(script, { input })
  expect({ code, signal, stderr: stderr.slice(0, 300), reported }).toEqual({ code: 0, signal: null, stderr: '', reported: { answers, bytes: 0 } })
})
