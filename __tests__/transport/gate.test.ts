import axios from 'axios'
import * as https from 'node:https'
import { Readable } from 'node:stream'
import type { ClientRequest } from 'node:http'
import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { createPinningAgent, pinAxios } from '../../lib/index.js'
import type { HostPolicy, PinningOptions } from '../../lib/index.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import { Reporter } from '../../lib/report/reporter.js'
import { PinningAgent } from '../../lib/transport/agent.js'
import { holdBytes } from '../../lib/transport/gate.js'
import { runChild } from '../support/child.js'
import { block, send, until, wait } from '../support/clients.js'
import type { SendOptions } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer, TestServerOptions } from '../support/servers.js'

const pinnedRoot = createAuthority({ name: 'Pinned Root' })
const otherRoot = createAuthority({ name: 'Other Root' })
const genuineLeaf = pinnedRoot.issue()
/** Valid for the same names, from a CA that the client trusts, and not pinned. */
const impostorLeaf = otherRoot.issue()
const backup = createSelfSigned()
const tls = { ca: [pinnedRoot.pem, otherRoot.pem] }
const leafPins = { localhost: [genuineLeaf.fingerprint, genuineLeaf.pin] }

const versions = ['TLSv1.2', 'TLSv1.3'] as const
const sizes = [['20 B', 20], ['200 kB', 200_000]] as const
const tries = 200

const closing: Array<() => unknown> = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function start(options: Partial<TestServerOptions> = {}): Promise<TestServer> {
  const server = await startServer({ certificate: impostorLeaf, ...options })
  closing.push(() => server.close())
  return server
}

function agentFor(options: Partial<PinningOptions> = {}): https.Agent {
  const agent = createPinningAgent({ pins: leafPins, tls, ...options })
  closing.push(() => { agent.destroy() })
  return agent
}

/** Runs a task so often, a few at a time; the results by what they are, with how often. */
async function tally(times: number, task: () => Promise<string>): Promise<Record<string, number>> {
  const results: Record<string, number> = {}
  let left = times
  const work = async () => {
    while (left-- > 0) {
      const result = await task()
      results[result] = (results[result] ?? 0) + 1
    }
  }
  await Promise.all(Array.from({ length: 8 }, work))
  return results
}

async function outcomeOf(agent: https.Agent, port: number, options?: SendOptions): Promise<string> {
  const { code, status } = await send(agent, port, options)
  return code ?? String(status)
}

describe.each(versions)('over %s', (version) => {
  const only = { minVersion: version, maxVersion: version }

  test.each(sizes)('an impostor gets nothing of a request of %s through https.request', async (_, size) => {
    const server = await start(only)
    const body = 'x'.repeat(size)
    const agent = agentFor()
    expect(await tally(tries, () => outcomeOf(agent, server.port, { body }))).toEqual({ ERR_PIN_MISMATCH: tries })
    expect(server).toMatchObject({ decryptedBytes: 0, requests: [], connections: tries })
  })

  test.each(sizes)('an impostor gets nothing of a request of %s through axios', async (_, size) => {
    const server = await start(only)
    const body = 'x'.repeat(size)
    const api = axios.create({ baseURL: server.url })
    const pinning = pinAxios(api, { pins: leafPins, tls })
    closing.push(() => pinning.close())
    const attempt = () => api.post('/', body).then(({ status }) => String(status), (error: Error & { code: string }) => error.code)
    expect(await tally(tries, attempt)).toEqual({ ERR_PIN_MISMATCH: tries })
    expect(server).toMatchObject({ decryptedBytes: 0, requests: [], connections: tries })
  })

  test('the genuine server gets every byte', async () => {
    const server = await start({ ...only, certificate: genuineLeaf })
    const agent = agentFor()
    const body = 'x'.repeat(200_000)
    expect(await tally(20, () => outcomeOf(agent, server.port, { body, headers: { connection: 'close' } }))).toEqual({ 200: 20 })
    expect(server.requests.map(({ bodyLength }) => bodyLength)).toEqual(Array(20).fill(200_000))
  })

  const policies: Array<[string, Partial<HostPolicy>, Partial<PinningOptions['tls']>]> = [
    ['on a certificate', { certificates: [genuineLeaf.fingerprint] }, {}],
    ['on a key', { publicKeys: [genuineLeaf.pin] }, {}],
    ['on a key anywhere in the chain', { pins: [pinnedRoot.pin] }, {}],
    ['on a CA whose certificate is known', { authorities: [pinnedRoot.pem] }, {}],
    ['on a CA by its pin', { authorities: [pinnedRoot.pin] }, {}],
    ['with a rejected key', { pins: [pinnedRoot.pin], rejected: [impostorLeaf.pin] }, {}],
    ['that has expired', { certificates: [impostorLeaf.fingerprint], expires: '2020-01-01' }, {}],
    ['that stands for trust', { certificates: [genuineLeaf.fingerprint], trust: 'pin-only' }, {}]
  ]
  test.each(policies)('an impostor gets nothing against a policy %s', async (_, policy) => {
    const server = await start(only)
    const agent = agentFor({ pins: { localhost: policy } })
    const results = await tally(20, () => outcomeOf(agent, server.port, { body: 'x'.repeat(20_000) }))
    expect(Object.keys(results)).toHaveLength(1)
    expect(Object.keys(results)[0]).toMatch(/^ERR_PIN_(MISMATCH|EXPIRED)$/)
    expect(server).toMatchObject({ decryptedBytes: 0, connections: 20 })
  })

  test('a pinned certificate for another name gets nothing, whether a CA or the pin is trusted', async () => {
    const misnamed = pinnedRoot.issue({ names: ['elsewhere.test'] })
    const server = await start({ ...only, certificate: misnamed })
    for (const trust of ['pki', 'pin-only'] as const) {
      const agent = agentFor({ pins: { localhost: { certificates: [misnamed.fingerprint, backup.fingerprint], trust } } })
      expect(await tally(10, () => outcomeOf(agent, server.port, { body: 'secret' }))).toEqual({ ERR_TLS_CERT_ALTNAME_INVALID: 10 })
    }
    expect(server).toMatchObject({ decryptedBytes: 0, connections: 20 })
  })

  test('a self-signed impostor of a host whose pin stands for trust gets nothing', async () => {
    const self = createSelfSigned()
    const server = await start({ ...only, certificate: createSelfSigned({ subjectNameOf: self }) })
    const agent = agentFor({ pins: { localhost: { certificates: [self.fingerprint, backup.fingerprint], trust: 'pin-only' } } })
    expect(await tally(20, () => outcomeOf(agent, server.port, { body: 'x'.repeat(20_000) }))).toEqual({ ERR_PIN_MISMATCH: 20 })
    expect(server).toMatchObject({ decryptedBytes: 0, connections: 20 })
  })

  test('what an impostor says before it is asked is no answer', async () => {
    const server = await start(only)
    server.server.on('secureConnection', (socket: TLSSocket) => {
      socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok')
    })
    for (const policy of [{ certificates: [genuineLeaf.fingerprint] }, { certificates: [genuineLeaf.fingerprint], trust: 'pin-only' }, { authorities: [pinnedRoot.pem] }] as const) {
      const agent = agentFor({ pins: { localhost: policy } })
      expect(await tally(20, () => outcomeOf(agent, server.port))).toEqual({ ERR_PIN_MISMATCH: 20 })
    }
    expect(server.decryptedBytes).toBe(0)
  })

  test('callbacks that take their time give an impostor none', async () => {
    const server = await start(only)
    const agent = agentFor({ onBadCertificate: () => { block(30) }, logger: { warn: () => { block(30) }, debug: () => undefined } })
    expect(await tally(10, () => outcomeOf(agent, server.port, { body: 'x'.repeat(20_000) }))).toEqual({ ERR_PIN_MISMATCH: 10 })
    expect(server).toMatchObject({ decryptedBytes: 0, connections: 10 })
  })

  test('callbacks that never settle give an impostor nothing', async () => {
    const server = await start(only)
    const agent = agentFor({ onBadCertificate: () => new Promise(() => undefined) as unknown as void })
    expect(await tally(10, () => outcomeOf(agent, server.port, { body: 'secret' }))).toEqual({ ERR_PIN_MISMATCH: 10 })
    expect(server.decryptedBytes).toBe(0)
  })

  test('a policy that is slow to find gives an impostor no time', async () => {
    const server = await start(only)
    const set = new PolicySet({ pins: leafPins }, 1)
    const policies = () => {
      block(10)
      return set
    }
    const agent = new PinningAgent({ policies, reporter: new Reporter({}), tls, agent: undefined })
    expect(await tally(10, () => outcomeOf(agent, server.port, { body: 'x'.repeat(20_000) }))).toEqual({ ERR_PIN_MISMATCH: 10 })
    expect(server).toMatchObject({ decryptedBytes: 0, connections: 10 })
  })
})

describe('however it is written, the impostor gets none of a request:', () => {
  const body = 'x'.repeat(300_000)
  const ways: Array<[string, SendOptions, (request: ClientRequest) => void]> = [
    ['ended at once', { method: 'POST' }, (request) => request.end(body)],
    ['headers flushed first', { method: 'POST' }, (request) => {
      request.flushHeaders()
      request.end(body)
    }],
    ['Expect: 100-continue', { method: 'POST', headers: { expect: '100-continue' } }, (request) => {
      request.on('continue', () => request.end(body))
      request.flushHeaders()
    }],
    ['Expect: 100-continue, and not waited for', { method: 'POST', headers: { expect: '100-continue', 'content-length': body.length } }, (request) => request.end(body)],
    ['written to the socket before it is connected', {}, (request) => {
      request.on('socket', (socket) => {
        for (let i = 0; i < 20; i++) socket.write(body)
      })
      request.end(body)
    }],
    ['corked and uncorked', { method: 'POST' }, (request) => {
      request.on('socket', (socket) => {
        socket.cork()
        socket.write('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n')
        socket.uncork()
      })
      request.cork()
      request.write(body)
      request.uncork()
      request.end()
    }],
    ['the socket ended', {}, (request) => {
      request.on('socket', (socket) => socket.end(body))
      request.end(body)
    }],
    ['the socket told to end when everything is written', {}, (request) => {
      request.on('socket', (socket) => {
        socket.write(body)
        socket.destroySoon()
      })
      request.end(body)
    }],
    ['written when the socket is connected', {}, (request) => {
      request.on('socket', (socket) => socket.once('connect', () => socket.write(body)))
      request.end(body)
    }],
    ['written ahead of our own listener, when the handshake is done', {}, (request) => {
      request.on('socket', (socket) => {
        socket.prependListener('secureConnect', () => socket.write(body))
        socket.prependListener('secure', () => socket.write(body))
      })
      request.end(body)
    }],
    ['written over and over', {}, (request) => {
      request.on('socket', (socket) => {
        const timer = setInterval(() => socket.write('x'.repeat(100)), 1)
        socket.on('close', () => { clearInterval(timer) })
      })
      request.end(body)
    }],
    ['a stream piped into it', { method: 'POST' }, (request) => { Readable.from(Array.from({ length: 50 }, () => 'y'.repeat(10_000))).pipe(request) }],
    ['a stream piped into the socket', {}, (request) => {
      request.on('socket', (socket) => Readable.from(Array.from({ length: 50 }, () => 'y'.repeat(10_000))).pipe(socket))
      request.end()
    }],
    ['the handshake pretended to have ended', {}, (request) => {
      request.on('socket', (socket) => {
        socket.emit('secureConnect')
        socket.on('connect', () => socket.emit('secureConnect'))
      })
      request.end(body)
    }]
  ]

  test.each(ways)('%s', async (_, options, write) => {
    for (const version of versions) {
      for (const trust of ['pki', 'pin-only'] as const) {
        const server = await start({ minVersion: version, maxVersion: version })
        const agent = agentFor({ pins: { localhost: { certificates: [genuineLeaf.fingerprint, backup.fingerprint], trust } } })
        const codes = await tally(5, () => new Promise((resolve) => {
          const request = https.request({ host: 'localhost', port: server.port, agent, ...options })
          request.on('error', (error: Error & { code?: string }) => { resolve(error.code ?? error.message) })
          request.on('response', () => { resolve('answered') })
          write(request)
        }))
        expect(Object.keys(codes)).not.toContain('answered')
        expect(server.decryptedBytes).toBe(0)
        await until(() => server.openSockets === 0)
      }
    }
  })

  test.each(ways.filter(([name]) => !/pretended|socket|listener|over|corked/.test(name)))('and the genuine server gets all of it: %s', async (way, options, write) => {
    const server = await start({ certificate: genuineLeaf })
    const agent = agentFor()
    const status = await new Promise((resolve) => {
      const request = https.request({ host: 'localhost', port: server.port, agent, ...options })
      request.on('error', resolve)
      request.on('response', (response) => response.on('end', () => { resolve(response.statusCode) }).resume())
      write(request)
    })
    expect(status).toBe(200)
    expect(server.requests).toMatchObject([{ complete: true }])
    expect(server.requests[0]?.bodyLength).toBe(/stream/.test(way) ? 500_000 : 300_000)
  })
})

describe('without a verdict nothing leaves, though the handshake has long been done:', () => {
  const piece = 'x'.repeat(10_000)
  const writes: Array<[string, (socket: TLSSocket) => void]> = [
    ['one write', (socket) => void socket.write(piece)],
    ['many writes', (socket) => { for (let i = 0; i < 20; i++) socket.write(piece) }],
    ['corked writes', (socket) => {
      socket.cork()
      for (let i = 0; i < 20; i++) socket.write(piece)
      socket.uncork()
    }],
    ['an end with something in it', (socket) => void socket.end(piece)],
    ['a pipe', (socket) => void Readable.from([piece, piece]).pipe(socket)]
  ]

  test.each(writes)('%s', async (_, write) => {
    for (const version of versions) {
      for (const when of ['before', 'after'] as const) {
        const server = await start({ certificate: genuineLeaf, minVersion: version, maxVersion: version })
        const ended: string[] = []
        server.server.on('secureConnection', (socket: TLSSocket) => socket.on('end', () => ended.push('ended')))
        const socket = connect({ port: server.port, ca: pinnedRoot.pem, servername: 'localhost' }).on('error', () => undefined)
        const gate = holdBytes(socket)
        if (when === 'before') write(socket)
        await new Promise((resolve) => socket.once('secureConnect', resolve))
        if (when === 'after') write(socket)
        await wait(20)
        expect([server.handshakes, server.decryptedBytes, ended, gate.holds]).toEqual([1, 0, [], true])
        expect(socket.writableFinished).toBe(false)
        socket.destroy()
        await until(() => server.openSockets === 0)
        expect(server.decryptedBytes).toBe(0)
      }
    }
  })

  test('an end is not held, since nothing comes with it', async () => {
    for (const when of ['before', 'after'] as const) {
      const server = await start({ certificate: genuineLeaf })
      const socket = connect({ port: server.port, ca: pinnedRoot.pem, servername: 'localhost' }).on('error', () => undefined)
      holdBytes(socket)
      if (when === 'after') await new Promise((resolve) => socket.once('secureConnect', resolve))
      socket.end()
      await until(() => server.connections === 1 && server.openSockets === 0)
      expect(server.decryptedBytes).toBe(0)
    }
  })

  test('a request whose listeners somebody else has taken off', async () => {
    for (const certificate of [genuineLeaf, impostorLeaf]) {
      for (const trust of ['pki', 'pin-only'] as const) {
        const server = await start({ certificate })
        const agent = agentFor({ pins: { localhost: { certificates: [genuineLeaf.fingerprint, backup.fingerprint], trust } } })
        const request = https.request({ port: server.port, agent, method: 'POST' })
        request.on('socket', (socket) => socket.removeAllListeners('secureConnect').removeAllListeners('close').removeAllListeners('session'))
        request.on('error', () => undefined)
        request.end('secret')
        // The verdict waits for none of them.
        if (certificate === genuineLeaf) await until(() => server.requests.length === 1)
        else await until(() => server.openSockets === 0)
        await wait(20)
        expect(server.decryptedBytes > 0).toBe(certificate === genuineLeaf)
        request.destroy()
      }
    }
  })
})

describe('a report that fails changes nothing for the request', () => {
  const boom = () => { throw new Error('boom') }
  const failing: Array<[string, Partial<PinningOptions>, () => void]> = [
    ['the logger', { logger: { warn: boom, debug: boom, isLevelEnabled: boom } }, () => undefined],
    ['the callbacks', { onValidCertificate: boom, onBadCertificate: boom }, () => undefined],
    ['the reporter itself', {}, () => jest.spyOn(Reporter.prototype, 'connection').mockImplementation(boom)]
  ]
  afterEach(() => { jest.restoreAllMocks() })

  test.each(failing)('where %s throws', async (_, options, prepare) => {
    const [genuine, impostor] = [await start({ certificate: genuineLeaf }), await start()]
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    prepare()
    const agent = agentFor(options)
    expect(await tally(5, () => outcomeOf(agent, genuine.port, { body: 'x', headers: { connection: 'close' } }))).toEqual({ 200: 5 })
    expect(await tally(5, () => outcomeOf(agent, impostor.port, { body: 'x' }))).toEqual({ ERR_PIN_MISMATCH: 5 })
    expect(genuine.requests).toHaveLength(5)
    expect(impostor.decryptedBytes).toBe(0)
    expect(warn.mock.calls.filter(([warning]) => String(warning).includes('boom')).length).toBeGreaterThan(0)
  })
})

describe('pipelined writes to the socket reach the genuine server in their order', () => {
  test.each(versions)('over %s', async (version) => {
    const server = await start({ certificate: genuineLeaf, minVersion: version, maxVersion: version })
    const agent = agentFor()
    const socket = (agent as unknown as { createConnection(options: object): TLSSocket }).createConnection({ host: 'localhost', port: server.port })
    const written: Array<string | undefined> = []
    for (const path of ['/1', '/2', '/3']) socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`, (error) => written.push(error?.message))
    socket.end(`POST /4 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 100000\r\n\r\n${'z'.repeat(100_000)}`)
    await new Promise((resolve) => socket.resume().on('close', resolve))
    expect(written).toEqual([undefined, undefined, undefined])
    expect(server.requests.map(({ url, bodyLength }) => [url, bodyLength])).toEqual([['/1', 0], ['/2', 0], ['/3', 0], ['/4', 100_000]])
  })
})

describe('in a process of its own', () => {
  const input = (server: TestServer) => ({ port: server.port, pins: leafPins, tls })
  const attempts = `
    const https = require('node:https')
    const codes = []
    const attempt = (agent, options = {}) => new Promise((resolve) => {
      const request = https.request({ host: 'localhost', port: input.port, agent, method: 'POST', timeout: 1500, ...options })
      request.on('response', (response) => { response.resume(); codes.push(response.statusCode); resolve() })
      request.on('error', (error) => { codes.push(error.code ?? error.message); resolve() })
      request.on('timeout', () => { request.destroy(new Error('timeout')) })
      request.end('x'.repeat(20000))
    })
  `

  test.each(['before', 'at run time'])('NODE_TLS_REJECT_UNAUTHORIZED=0 changes nothing when it is set %s', async (when) => {
    const impostor = await start()
    const untrusted = await start({ certificate: createAuthority().issue() })
    const misnamed = await start({ certificate: pinnedRoot.issue({ names: ['elsewhere.test'], key: genuineLeaf.key }) })
    const script = `${attempts}
      const { createPinningAgent, createPinnedAxios } = await load('index.js')
      const options = { pins: input.pins, tls: input.tls }
      const agent = createPinningAgent(options)
      if (input.atRunTime) process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
      const api = createPinnedAxios(options)
      for (let i = 0; i < 5; i++) {
        for (const port of input.ports) {
          await attempt(agent, { port })
          await attempt(agent, { port, rejectUnauthorized: false })
          await api.post('https://localhost:' + port + '/', 'secret').then(({ status }) => codes.push(status), ({ code }) => codes.push(code))
        }
      }
      report({ codes: [...new Set(codes)], count: codes.length })
      process.exit()`
    const atRunTime = when !== 'before'
    const child = await runChild(script, {
      input: { ...input(impostor), ports: [impostor.port, untrusted.port, misnamed.port], atRunTime },
      env: atRunTime ? {} : { NODE_TLS_REJECT_UNAUTHORIZED: '0' }
    })
    expect(child.stderr).toBe('')
    expect(child.reported.count).toBe(45)
    for (const code of child.reported.codes) expect(code).toMatch(/^(ERR_PIN_MISMATCH|ERR_PIN_BYPASS|UNABLE_TO_VERIFY_LEAF_SIGNATURE|ERR_TLS_CERT_ALTNAME_INVALID)$/)
    for (const server of [impostor, untrusted, misnamed]) expect(server.decryptedBytes).toBe(0)
  })

  // Each breaks another place that a connection passes on its way to the verdict.
  const saboteurs: Array<[string, string]> = [
    ["Node's name check", "require('node:tls').checkServerIdentity = boom"],
    ['reading the certificate', "Object.defineProperty(X509Certificate.prototype, 'fingerprint256', { get: boom })"],
    ['reading the names', "Object.defineProperty(X509Certificate.prototype, 'subjectAltName', { get: boom })"],
    ['exporting the key', "Object.defineProperty(X509Certificate.prototype, 'publicKey', { get: boom })"],
    ['walking the chain', "Object.defineProperty(X509Certificate.prototype, 'issuerCertificate', { get: boom })"],
    ['asking whether it is resumed', "const { isSessionReused } = tls.TLSSocket.prototype; tls.TLSSocket.prototype.isSessionReused = function () { if (new Error().stack.includes('axios-ssl-pinning') || new Error().stack.includes('dist')) boom(); return isSessionReused.call(this) }"],
    ['looking up the policy', "PolicySet.prototype.find = (host, port) => { if (++finds % 3 === 0) boom() ; return find.call(core.policies, host, port) }"],
    ['the error itself', 'PinMismatchError.prototype.constructor = undefined; Object.defineProperty(Object.getPrototypeOf(PinMismatchError.prototype), "toString", { value: boom })'],
    ['the report', 'Reporter.prototype.connection = boom'],
    ['the logger', 'logger.warn = boom; logger.debug = boom; logger.isLevelEnabled = boom'],
    ['the callback', 'callback = boom'],
    ['the policy itself', "Map.prototype.get = new Proxy(Map.prototype.get, { apply: (target, self, [key]) => (typeof key === 'string' && /^(sha256|[0-9A-F]{2}:)/.test(key) ? boom() : Reflect.apply(target, self, [key])) })"]
  ]

  test.each(saboteurs)('where %s throws, and uncaught exceptions are caught, an impostor gets nothing and the request ends', async (_, sabotage) => {
    const server = await start()
    const script = `${attempts}
      process.on('uncaughtException', (error) => { caught.push(String(error.message)) })
      const caught = []
      const { X509Certificate } = require('node:crypto')
      const tls = require('node:tls')
      const { PinningCore } = require('./dist/modules/cjs/pinning.js')
      const { PolicySet } = require('./dist/modules/cjs/policy/policy-set.js')
      const { Reporter } = require('./dist/modules/cjs/report/reporter.js')
      const { PinMismatchError } = require('./dist/modules/cjs/errors.js')
      const { find } = PolicySet.prototype
      let finds = 0
      const boom = () => { throw new Error('boom') }
      let callback = () => undefined
      const logger = { warn() {}, debug() {} }
      const cores = ['certificates', 'publicKeys', 'pins', 'authorities', 'pin-only'].map((kind) => new PinningCore({ logger, pins: { localhost: input.policies[kind] }, tls: input.tls, onBadCertificate: (report) => callback(report) }))
      let core
      const sabotage = () => { ${sabotage} }
      for (core of cores) {
        if (core === cores[0]) { sabotage() }
        for (let i = 0; i < 3; i++) await attempt(core.agent).catch((error) => { codes.push('thrown: ' + error.message) })
      }
      report({ codes: [...new Set(codes)], count: codes.length, caught: [...new Set(caught)] })
      process.exit()`
    const policies = {
      certificates: { certificates: [genuineLeaf.fingerprint, backup.fingerprint] },
      publicKeys: { publicKeys: [genuineLeaf.pin, backup.pin] },
      pins: { pins: [pinnedRoot.pin, backup.pin] },
      authorities: { authorities: [pinnedRoot.pem] },
      'pin-only': { certificates: [genuineLeaf.fingerprint, backup.fingerprint], trust: 'pin-only' }
    }
    const child = await runChild(script, { input: { ...input(server), policies } })
    expect(child.stderr).toBe('')
    expect(server.decryptedBytes).toBe(0)
    expect(child.reported.count).toBe(15)
    expect(child.reported.codes).not.toContain(200)
    expect(child.reported.codes).not.toContain('timeout')
    expect(child.reported.caught).toEqual([])
  })
})
