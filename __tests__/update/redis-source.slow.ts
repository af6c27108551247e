import { Agent } from 'node:https'
import { createClient } from 'redis'
import { redisSource } from '../../lib/update/redis-source.js'
import type { PinSetSource } from '../../lib/update/source.js'
import { redisTest, startRedis } from '../support/redis.js'

const unhandled: unknown[] = []
const note = (reason: unknown) => void unhandled.push(reason)
beforeAll(() => void process.on('unhandledRejection', note))
afterAll(() => void process.off('unhandledRejection', note))

redisTest('100 listeners have each of 10 changes within a second, also after Redis has crashed and come back', async () => {
  const server = await startRedis()
  const agent = new Agent()
  const has = new Map<PinSetSource, string | undefined>()
  const sources = Array.from({ length: 100 }, () => redisSource(createClient({ url: server.url }), 'pins'))
  let news = (): void => undefined
  for (const source of sources) {
    source.subscribe?.(() => {
      const look = source.fetch({ signal: AbortSignal.timeout(10_000), etag: undefined, maxBytes: 1_000, agent })
      look.then(({ text }) => has.set(source, text), () => undefined).finally(() => news())
    })
  }
  const publisher = createClient({ url: server.url })
  publisher.on('error', () => undefined)
  await publisher.connect()
  const everybodyListens = async (): Promise<void> => {
    while ((await publisher.pubSubNumSub('pins').catch(() => undefined))?.['pins'] !== sources.length) await new Promise((resume) => setTimeout(resume, 50))
  }
  const publish = async (text: string): Promise<number> => {
    const everybody = new Promise<void>((resolve) => (news = () => [...has.values()].filter((each) => each === text).length === sources.length && resolve()))
    const since = performance.now()
    await publisher.multi().set('pins', text).publish('pins', '1').exec()
    await everybody
    return performance.now() - since
  }
  const waits: number[] = []
  await everybodyListens()
  for (let round = 0; round < 5; round++) waits.push(await publish(`set ${round}`))
  await server.kill()
  await new Promise((resume) => setTimeout(resume, 3_000))
  await server.start()
  await everybodyListens()
  for (let round = 5; round < 10; round++) waits.push(await publish(`set ${round}`))
  console.log(`100 listeners had it after ${Math.min(...waits).toFixed(0)} to ${Math.max(...waits).toFixed(0)} ms`)
  expect(Math.max(...waits)).toBeLessThan(1_000)
  for (const source of sources) await source.close?.()
  publisher.destroy()
  await server.kill()
  await new Promise((resume) => setTimeout(resume, 500))
  expect(unhandled).toEqual([])
})
