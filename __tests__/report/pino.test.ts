import { Writable } from 'node:stream'
import axios from 'axios'
import { pino } from 'pino'
import type { Logger, LoggerOptions } from 'pino'
import { pinAxios, pinningSerializers } from '../../lib/index.js'
import type { PinningOptions } from '../../lib/index.js'
import { readLogger, writeLog } from '../../lib/report/logger.js'
import { EventStream } from '../../lib/report/events.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

const root = createAuthority()
const genuine = root.issue()
const backup = createSelfSigned()
let server: TestServer
let impostor: TestServer

beforeAll(async () => {
  server = await startServer({ certificate: genuine })
  impostor = await startServer({ certificate: root.issue() })
})
beforeEach(() => void jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined))
afterAll(() => Promise.all([server.close(), impostor.close()]))

function startPino(options: LoggerOptions = {}): { logger: Logger; lines: () => Array<Record<string, unknown>> } {
  const written: string[] = []
  const stream = new Writable({ write: (chunk: Buffer, _encoding, done) => (written.push(String(chunk)), done()) })
  return { logger: pino({ base: null, ...options }, stream), lines: () => written.map((line) => JSON.parse(line) as Record<string, unknown>) }
}

async function requests(logger: PinningOptions['logger']): Promise<Error> {
  const api = axios.create({ proxy: false })
  const pinning = pinAxios(api, { pins: { localhost: [genuine.pin, backup.pin] }, tls: { ca: root.pem }, ...(logger !== undefined && { logger }) })
  await api.get(server.url)
  const error = await api.post(impostor.url, { password: 'bodySecret' }, { headers: { authorization: 'Bearer headerSecret' } }).catch((thrown: unknown) => thrown as Error)
  pinning.update({ localhost: [genuine.pin, backup.pin] })
  await pinning.close()
  return error as Error
}

test("records are written by a child of the logger, with its bindings, at its level", async () => {
  const { logger, lines } = startPino({ level: 'debug' })
  await requests(logger.child({ service: 'billing' }))
  expect(lines()).toEqual([
    expect.objectContaining({ level: 20, service: 'billing', component: 'axios-ssl-pinning', decision: 'accepted', msg: 'connection accepted' }),
    expect.objectContaining({ level: 40, service: 'billing', component: 'axios-ssl-pinning', decision: 'refused', code: 'ERR_PIN_MISMATCH', diagnosis: expect.objectContaining({ verdict: 'key-rotated' }), msg: 'connection refused' }),
    expect.objectContaining({ level: 30, policyRevision: 2, msg: 'policy updated' })
  ])
})

test("the logger's level is asked each time, also when it changes", () => {
  const { logger, lines } = startPino({ level: 'error' })
  const events = new EventStream()
  writeLog(readLogger(logger) as never, events, () => undefined)
  const warn = (): void => events.emit('warning', { time: new Date(), message: 'unwise' })
  warn()
  logger.level = 'warn'
  warn()
  expect(lines()).toEqual([expect.objectContaining({ level: 40, msg: 'unwise', component: 'axios-ssl-pinning' })])
})

test('the redaction of the logger holds for our records', async () => {
  const { logger, lines } = startPino({ redact: ['host', 'knownPins', 'diagnosis.newPins'] })
  await requests(logger)
  expect(lines()[0]).toMatchObject({ host: '[Redacted]', knownPins: '[Redacted]', diagnosis: { newPins: '[Redacted]', verdict: 'key-rotated' } })
})

test("pino's own serializer writes an axios error's headers and body; ours writes what was compared, and no secret", async () => {
  const error = await requests(undefined)
  const plain = startPino()
  plain.logger.error({ err: error }, 'failed')
  expect(JSON.stringify(plain.lines())).toContain('headerSecret')

  const ours = startPino({ serializers: { ...pinningSerializers } })
  ours.logger.error({ err: error, error }, 'failed')
  const text = JSON.stringify(ours.lines())
  for (const secret of ['headerSecret', 'bodySecret']) expect(text).not.toContain(secret)
  expect(ours.lines()[0]?.['err']).toMatchObject({ type: 'PinMismatchError', code: 'ERR_PIN_MISMATCH', cause: { type: 'PinMismatchError' }, pinning: { host: 'localhost', policy: 'localhost', knownPins: [genuine.pin, backup.pin] }, diagnosis: { verdict: 'key-rotated' } })
  expect(ours.lines()[0]?.['error']).toEqual(ours.lines()[0]?.['err'])
})

test('an error without a refusal behind it, and what is no error, are written as well', () => {
  const { logger, lines } = startPino({ serializers: { ...pinningSerializers } })
  const cause = Object.assign(new Error('inner'), { code: 'ECONNREFUSED', password: 'x' })
  logger.error({ err: new Error('outer', { cause }) }, 'failed')
  logger.error({ err: 'text' }, 'failed')
  expect(lines().map(({ err }) => err)).toEqual([{ type: 'Error', message: 'outer', stack: expect.any(String), cause: { type: 'Error', message: 'inner', code: 'ECONNREFUSED', stack: expect.any(String) } }, 'text'])
})

test('what an asynchronous logger rejects with becomes a process warning, also behind a child', async () => {
  const emitWarning = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
  const broken = { warn: () => Promise.reject(new Error('shipper down')), debug: () => undefined }
  for (const logger of [broken, { ...broken, child: () => broken }, { ...broken, child: () => Promise.reject(new Error('no child')) }]) {
    const events = new EventStream()
    writeLog(readLogger(logger) as never, events, () => undefined)
    events.emit('warning', { time: new Date(), message: 'a' })
  }
  await new Promise((resolve) => setTimeout(resolve, 10))
  expect(emitWarning.mock.calls.map(([text]) => text)).toEqual(Array(3).fill('axios-ssl-pinning: the logger failed: Error: shipper down'))
  emitWarning.mockRestore()
})

test('a threat is logged by its severity; a logger without error() and info() gets it all the same', () => {
  const { logger, lines } = startPino()
  const few: string[] = []
  for (const each of [logger, { warn: () => void few.push('warn'), debug: () => void few.push('debug') }]) {
    const events = new EventStream()
    writeLog(readLogger(each) as never, events, () => undefined)
    for (const severity of ['critical', 'warning', 'info'] as const) events.emit('threat', { time: new Date(), kind: 'attack', severity, hosts: ['a'] } as never)
  }
  expect(lines().map(({ level }) => level)).toEqual([50, 40, 30])
  expect(few).toEqual(['warn', 'warn', 'debug'])
})
