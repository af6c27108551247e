import { runChild } from '../support/child.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import type { IssuedCertificate } from '../support/pki.js'
import { startResettingServer, startServer } from '../support/servers.js'

const closing: Array<() => unknown> = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

/** 2,000 unless LEAK_ROUNDS says otherwise; 10,000 takes half a minute. */
const rounds = Number(process.env['LEAK_ROUNDS'] ?? 2_000)
/** Enough for what passes through the same code in another way. */
const fewRounds = Math.min(rounds, 800)
/** Bytes. A socket with what hangs on it is some 10 kB; Node's own heap wavers by a quarter of a megabyte. */
const heapPerRound = 300

const root = createAuthority({ name: 'Leaks Root' })
const genuine = root.issue()
const backup = createSelfSigned()

const script = `
  const https = require('node:https')
  const { createPinning } = await load('index.js')
  const warnings = []
  process.on('warning', (warning) => { if (warning.name !== 'PinningWarning') warnings.push(warning.name + ': ' + warning.message) })
  const pinning = createPinning({ pins: { localhost: input.policy }, tls: { ca: input.ca }, agent: input.agent, onBadCertificate: () => undefined })
  const { agent } = pinning
  const codes = {}
  const attempt = () => new Promise((resolve) => {
    const done = (code) => { codes[code] = (codes[code] ?? 0) + 1; resolve() }
    const request = https.request({ host: 'localhost', port: input.port, agent, method: 'POST', ...input.options })
    request.on('response', (response) => response.on('end', () => done(response.statusCode)).resume())
    request.on('error', (error) => done(error.code ?? error.message))
    request.end('x'.repeat(2000))
  })
  const play = async (count) => {
    let left = count
    await Promise.all(Array.from({ length: 8 }, async () => { while (left-- > 0) { await attempt(); if (input.update && left % 50 === 0) pinning.update({ localhost: input.policy }) } }))
    await new Promise((resolve) => setTimeout(resolve, 30))
    for (let i = 0; i < 3; i++) { gc(); await new Promise((resolve) => setImmediate(resolve)) }
    const { heapUsed, external, arrayBuffers } = process.memoryUsage()
    return { heap: heapUsed, external: external + arrayBuffers, handles: process.getActiveResourcesInfo().length, listeners: agent.eventNames().map((name) => agent.listenerCount(name)) }
  }
  // Warm: what is loaded, compiled and remembered once is no leak.
  await play(Math.max(300, input.rounds / 5))
  let before, after
  // A leak grows in every window, Node's own heap now and then: the first window without growth proves that there is none.
  for (let window = 0; window < 3; window++) {
    before = await play(100)
    await play(input.rounds)
    after = await play(100)
    if ((after.heap - before.heap) / input.rounds < input.heapPerRound) break
  }
  const held = [agent.sockets, agent.freeSockets, agent.requests].map((lists) => Object.values(lists).flat().length)
  report({ before, after, held, total: agent.totalSocketCount, codes, warnings })
  process.exit()`

interface Measured { heap: number, external: number, handles: number, listeners: number[] }

async function measure(input: object): Promise<{ before: Measured, after: Measured, held: number[], total: number, codes: Record<string, number>, warnings: string[] }> {
  const ended = await runChild(script, { input: { ca: root.pem, rounds, heapPerRound, agent: {}, ...input }, nodeOptions: ['--expose-gc'], timeoutMs: 120_000 })
  expect(ended).toMatchObject({ code: 0, stderr: '' })
  return ended.reported
}

function expectNoGrowth({ before, after }: { before: Measured, after: Measured }, count: number): void {
  expect((after.heap - before.heap) / count).toBeLessThan(heapPerRound)
  expect((after.external - before.external) / count).toBeLessThan(500)
  expect(after.handles).toBeLessThanOrEqual(before.handles)
  expect(after.listeners).toEqual(before.listeners)
}

const policy = { certificates: [genuine.fingerprint, backup.fingerprint] }
const refusing: Array<[number, string, IssuedCertificate, object, string]> = [
  [rounds, 'a leaf that is not pinned', root.issue(), policy, 'ERR_PIN_MISMATCH'],
  [fewRounds, 'a CA that is not pinned, whose pin alone is known', root.issueAuthority().issue(), { pins: [backup.pin, genuine.pin] }, 'ERR_PIN_MISMATCH'],
  [fewRounds, 'a certificate that is not trusted', createSelfSigned(), policy, 'DEPTH_ZERO_SELF_SIGNED_CERT']
]

test.each(refusing)('%d handshakes refused for %s leave nothing behind', async (count, _, certificate, refusingPolicy, code) => {
  const server = await startServer({ certificate })
  closing.push(() => server.close())
  const result = await measure({ port: server.port, policy: refusingPolicy, rounds: count })
  expectNoGrowth(result, count)
  expect(Object.keys(result.codes)).toEqual([code])
  expect(result).toMatchObject({ held: [0, 0, 0], total: 0, warnings: [] })
  expect(server.decryptedBytes).toBe(0)
}, 150_000)

test('nor do so many connections that break off, requests that are blocked, or updates', async () => {
  const server = await startServer({ certificate: genuine })
  const resetting = await startResettingServer()
  closing.push(() => server.close(), () => resetting.close())
  const cases: Array<[object, string]> = [
    [{ port: resetting.port, policy }, 'ECONNRESET'],
    [{ port: server.port, policy, options: { ca: 'brought along' } }, 'ERR_PIN_BYPASS'],
    [{ port: server.port, policy, update: true, agent: { maxSockets: 2 } }, '200']
  ]
  for (const [input, code] of cases) {
    const result = await measure({ ...input, rounds: fewRounds })
    expectNoGrowth(result, fewRounds)
    expect(Object.keys(result.codes)).toEqual([code])
    expect(result.warnings).toEqual([])
    expect(result.held[2]).toBe(0)
  }
}, 150_000)
