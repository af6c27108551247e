import { Agent } from 'node:https'
import { createClient } from 'redis'
import { PolicyInvalidError } from '../../lib/errors.js'
import { redisSource } from '../../lib/update/redis-source.js'
import type { PinSetSource } from '../../lib/update/source.js'
import { runChild } from '../support/child.js'
import { createSigner, strayPin } from '../support/pin-sets.js'
import { redisTest, startRedis } from '../support/redis.js'
import type { RedisServer } from '../support/redis.js'

const agent = new Agent()

function fetchFrom(source: PinSetSource, etag?: string, timeoutMs = 10_000) {
  return source.fetch({ signal: AbortSignal.timeout(timeoutMs), etag, maxBytes: 100, agent })
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 20_000; !(await condition()); ) {
    if (performance.now() > end) throw new Error('waited in vain')
    await new Promise((resume) => setTimeout(resume, 10))
  }
}

// A rejection that nobody handles ends a program; here it fails the test.
const unhandled: unknown[] = []
const note = (reason: unknown) => void unhandled.push(reason)
beforeAll(() => void process.on('unhandledRejection', note))
afterAll(() => void process.off('unhandledRejection', note))

let server: RedisServer | undefined
afterEach(async () => {
  await server?.kill()
  server = undefined
  expect(unhandled).toEqual([])
})

async function startPublisher(url: string) {
  const publisher = createClient({ url })
  publisher.on('error', () => undefined)
  await publisher.connect()
  return { publisher, publish: (text: string) => publisher.multi().set('pins', text).publish('pins', '1').exec() }
}

redisTest('the set is read from its key, and the same one not twice', async () => {
  server = await startRedis()
  const { publisher, publish } = await startPublisher(server.url)
  const source = redisSource(createClient({ url: server.url }), 'pins')
  await expect(fetchFrom(source)).rejects.toThrow('there is nothing under the key "pins"')
  await publish('one')
  const first = await fetchFrom(source)
  expect(first.text).toBe('one')
  expect(await fetchFrom(source, first.etag)).toEqual({ text: undefined, etag: first.etag })
  await publish('x'.repeat(101))
  await expect(fetchFrom(source)).rejects.toThrow('more than 100 bytes')
  await publish('ü'.repeat(51))
  await expect(fetchFrom(source)).rejects.toThrow('more than 100 bytes')
  // Each look has closed its connection: the publisher's is the only one.
  await until(async () => (await publisher.clientList()).length === 1)
  await publisher.lPush('list', 'x')
  await expect(fetchFrom(redisSource(createClient({ url: server.url }), 'list'))).rejects.toThrow(/WRONGTYPE/)
  publisher.destroy()
})

redisTest('a published change is heard, until it is closed', async () => {
  server = await startRedis()
  const { publisher, publish } = await startPublisher(server.url)
  const source = redisSource(createClient({ url: server.url }), 'pins')
  let calls = 0
  source.subscribe?.(() => calls++)
  await until(async () => (await publisher.pubSubNumSub('pins'))['pins'] === 1)
  await until(() => calls >= 2)
  const before = calls
  await publish('one')
  await until(() => calls === before + 1)
  await source.close?.()
  await until(async () => (await publisher.pubSubNumSub('pins'))['pins'] === 0)
  await publish('two')
  expect(calls).toBe(before + 1)
  publisher.destroy()
})

redisTest('another channel, and an end of one subscription only', async () => {
  server = await startRedis()
  const { publisher } = await startPublisher(server.url)
  const source = redisSource(createClient({ url: server.url }), 'pins', { channel: 'news' })
  const ends = [source.subscribe?.(() => undefined), source.subscribe?.(() => undefined)]
  await until(async () => (await publisher.pubSubNumSub('news'))['news'] === 2)
  ends[0]?.()
  await until(async () => (await publisher.pubSubNumSub('news'))['news'] === 1)
  await source.close?.()
  await until(async () => (await publisher.pubSubNumSub('news'))['news'] === 0)
  publisher.destroy()
})

redisTest('Redis crashes and comes back: heard again, and what was missed is looked at', async () => {
  server = await startRedis()
  const source = redisSource(createClient({ url: server.url }), 'pins')
  let calls = 0
  source.subscribe?.(() => calls++)
  await until(() => calls >= 2)
  await server.kill()
  await expect(fetchFrom(source)).rejects.toThrow(/ECONNREFUSED/)
  const before = calls
  await server.start()
  await until(() => calls > before)
  const { publisher, publish } = await startPublisher(server.url)
  await until(async () => (await publisher.pubSubNumSub('pins'))['pins'] === 1)
  const reconnected = calls
  await publish('after')
  await until(() => calls > reconnected)
  expect((await fetchFrom(source)).text).toBe('after')
  await source.close?.()
  publisher.destroy()
})

redisTest('also with a client that gives up at once, and when Redis is not there at first', async () => {
  server = await startRedis()
  await server.kill()
  const source = redisSource(createClient({ url: server.url, socket: { reconnectStrategy: false } }), 'pins')
  let calls = 0
  source.subscribe?.(() => calls++)
  await new Promise((resume) => setTimeout(resume, 300))
  await server.start()
  await until(() => calls >= 2)
  await server.kill()
  const before = calls
  await server.start()
  await until(() => calls >= before + 2)
  await source.close?.()
})

redisTest('a Redis that does not answer holds a look at the key no longer than its time', async () => {
  server = await startRedis()
  const source = redisSource(createClient({ url: server.url }), 'pins')
  server.freeze()
  await expect(fetchFrom(source, undefined, 200)).rejects.toThrow(/timeout/i)
  await source.close?.()
})

redisTest('the given client is not touched: neither connected, nor listened to, nor closed', async () => {
  server = await startRedis()
  const client = createClient({ url: server.url })
  const source = redisSource(client, 'pins')
  source.subscribe?.(() => undefined)
  await fetchFrom(source).catch(() => undefined)
  expect([client.isOpen, client.eventNames()]).toEqual([false, createClient({ url: server.url }).eventNames()])
  client.on('error', () => undefined)
  await client.connect()
  await source.close?.()
  expect(await client.ping()).toBe('PONG')
  client.destroy()
})

redisTest('a wrong password is an error of the look, and of nothing else', async () => {
  server = await startRedis()
  const source = redisSource(createClient({ url: server.url.replace('//', '//nobody:wrong@') }), 'pins')
  source.subscribe?.(() => undefined)
  await expect(fetchFrom(source)).rejects.toThrow(/WRONGPASS|AUTH/)
  await source.close?.()
})

test('closed while it still connects', async () => {
  const source = redisSource(createClient({ url: 'redis://127.0.0.1:1' }), 'pins')
  const end = source.subscribe?.(() => undefined)
  end?.()
  source.subscribe?.(() => undefined)
  await source.close?.()
  await new Promise((resume) => setTimeout(resume, 100))
})

test.each<[string, () => unknown]>([
  ['no client', () => redisSource(undefined as never, 'pins')],
  ['another client', () => redisSource({ duplicate: () => undefined, getrange: () => undefined } as never, 'pins')],
  ['no key', () => redisSource(createClient(), '')],
  ['a key of another type', () => redisSource(createClient(), 7 as never)],
  ['no channel', () => redisSource(createClient(), 'pins', { channel: '' })],
  ['an unknown option', () => redisSource(createClient(), 'pins', { chanel: 'x' } as never)]
])('%s is refused', (_, act) => {
  expect(act).toThrow(PolicyInvalidError)
})

test('options that are none are refused', () => {
  expect(() => redisSource(createClient(), 'pins', null as never)).toThrow(/redisSource must be an object, not null/)
})

redisTest('its connections do not keep the process alive', async () => {
  server = await startRedis()
  const script = `
    const { createClient } = require('redis')
    const { createPinning, redisSource } = await load('index.js')
    const pinning = createPinning({ pins: { 'api.example.com': [input.pin] }, integrity: 'off', updates: { source: redisSource(createClient({ url: input.url }), 'pins'), trustedKeys: [input.key], audience: 'test' } })
    await pinning.refresh()
    report(pinning.status().updates.lastError.message)
  `
  const { publicKey } = createSigner()
  const { code, signal, reported } = await runChild(script, { input: { url: server.url, pin: strayPin, key: publicKey.export({ type: 'spki', format: 'pem' }) }, timeoutMs: 8_000 })
  expect([code, signal, reported]).toEqual([0, null, expect.stringMatching(/nothing under the key/)])
})
