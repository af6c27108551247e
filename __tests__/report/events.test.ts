import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { createPinning } from '../../lib/index.js'
import { EventStream } from '../../lib/report/events.js'
import { Reporter } from '../../lib/report/reporter.js'
import { send } from '../support/clients.js'
import { createAuthority } from '../support/pki.js'
import { startServer } from '../support/servers.js'

const root = createAuthority()
const genuine = root.issue()

beforeEach(() => void jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined))

test('listeners hear what is told, in order, until they end it', () => {
  const events = new EventStream()
  const heard: string[] = []
  const end = events.on('warning', ({ message }) => void heard.push(`first ${message}`))
  events.on('warning', ({ message }) => void heard.push(`second ${message}`))
  events.emit('warning', { time: new Date(0), message: 'a' })
  end()
  events.emit('warning', { time: new Date(0), message: 'b' })
  expect(heard).toEqual(['first a', 'second a', 'second b'])
  expect([events.hears('warning'), events.hears('threat')]).toEqual([true, false])
})

test('a listener that throws becomes a process warning and reaches no other listener', () => {
  const events = new EventStream()
  const heard: string[] = []
  events.on('warning', () => { throw new Error('broken listener') })
  events.on('warning', ({ message }) => void heard.push(message))
  events.emit('warning', { time: new Date(0), message: 'a' })
  expect(heard).toEqual(['a'])
  expect(process.emitWarning).toHaveBeenCalledWith(expect.stringContaining('broken listener'), expect.anything())
})

test('warnings without end take no memory without end', () => {
  const reporter = new Reporter({})
  for (let i = 0; i < 1_001; i++) reporter.warnOnce(`text ${i}`)
  const before = jest.mocked(process.emitWarning).mock.calls.length
  for (const text of ['text 1000', 'text 0']) reporter.warnOnce(text)
  // Of the oldest it is not known any more that it was told.
  expect(jest.mocked(process.emitWarning).mock.calls.slice(before).map(([text]) => text)).toEqual(['text 0'])
})

test('a warning is told once', () => {
  const reporter = new Reporter({})
  const heard: string[] = []
  reporter.events.on('warning', ({ message }) => void heard.push(message))
  reporter.warnOnce('x')
  reporter.warnOnce('x')
  expect(heard).toEqual(['x'])
})

test('each kind has its diagnostics_channel', async () => {
  const server = await startServer({ certificate: genuine })
  const heard: Array<[string, unknown]> = []
  const listeners = ['connection:accepted', 'connection:refused', 'connection:tolerated', 'request:blocked', 'policy:updated'].map((kind) => {
    const listener = (message: unknown): void => void heard.push([kind, JSON.parse(JSON.stringify(message))])
    subscribe(`axios-ssl-pinning:${kind}`, listener)
    return () => unsubscribe(`axios-ssl-pinning:${kind}`, listener)
  })
  const pinning = createPinning({ pins: { localhost: [genuine.pin] }, tls: { ca: root.pem } })
  await send(pinning.agent, server.port)
  pinning.update({ localhost: [createAuthority().pin] })
  await send(pinning.agent, server.port)
  pinning.update({ localhost: { pins: [createAuthority().pin], mode: 'report-only' } })
  await send(pinning.agent, server.port)
  await send(pinning.agent, server.port, { host: '127.0.0.1' })
  for (const end of listeners) end()
  await Promise.all([pinning.close(), server.close()])
  expect(heard).toEqual([
    ['connection:accepted', expect.objectContaining({ host: 'localhost', decision: 'accepted', matchedPin: genuine.pin })],
    ['policy:updated', expect.objectContaining({ revision: 2, hosts: 1 })],
    ['connection:refused', expect.objectContaining({ host: 'localhost', decision: 'refused', result: 'mismatch', leaf: expect.objectContaining({ pin: genuine.pin }) })],
    ['policy:updated', expect.objectContaining({ revision: 3 })],
    ['connection:tolerated', expect.objectContaining({ host: 'localhost', decision: 'tolerated', result: 'mismatch' })],
    ['request:blocked', expect.objectContaining({ host: '127.0.0.1', port: server.port })]
  ])
})
