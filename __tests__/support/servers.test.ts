import { get as getHttp, type IncomingMessage } from 'node:http'
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https'
import { randomBytes } from 'node:crypto'
import { connect as connectTcp, createServer as createTcpServer, type AddressInfo } from 'node:net'
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls'

import { createAuthority, createSelfSigned, generateKey } from './pki.js'
import { startPlainServer, startResettingServer, startServer, startStalledServer, type TestServerOptions } from './servers.js'

const root = createAuthority()
const intermediate = root.issueAuthority()
const certificate = intermediate.issue()

const closing: Array<() => Promise<void> | void> = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

test('requests are recorded, with the beginning of a large body only', async () => {
  const server = await start({})
  const small = await send(server.port, { method: 'POST', path: '/a?b=c', headers: { 'x-test': 'yes' } }, 'hello')
  expect(small).toEqual({ status: 200, body: JSON.stringify({ ok: true, method: 'POST', url: '/a?b=c', length: 5 }) })
  await send(server.port, { method: 'PUT' }, 'x'.repeat(3_000_000))

  expect(server.requests).toMatchObject([
    { method: 'POST', url: '/a?b=c', headers: { 'x-test': 'yes' }, body: 'hello', bodyLength: 5, complete: true, connection: 1 },
    { method: 'PUT', body: 'x'.repeat(1024), bodyLength: 3_000_000, complete: true, connection: 2 },
  ])
  expect(server).toMatchObject({ connections: 2, handshakes: 2, resumed: 0, url: `https://localhost:${server.port}` })
})

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('%s', (version) => {
  const versions = { minVersion: version, maxVersion: version }

  test('counts exactly the decrypted octets, HTTP or not, resumed or not', async () => {
    const server = await start(versions)
    const noise = randomBytes(9_000)
    const first = await talk(server.port, noise, {})
    expect(server).toMatchObject({ decryptedBytes: noise.length, handshakes: 1, resumed: 0 })

    const request = Buffer.from('GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
    await talk(server.port, request, first.session ? { session: first.session } : {})
    expect(server).toMatchObject({ decryptedBytes: noise.length + request.length, handshakes: 2, resumed: first.session ? 1 : 0 })
    expect(server.requests).toHaveLength(1)

    const large = await start(versions)
    const body = 'x'.repeat(1_000_000)
    const head = `PUT / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n`
    await talk(large.port, Buffer.from(head + body), {})
    expect(large.decryptedBytes).toBe(head.length + body.length)
  })

  test('counts octets that arrive together with the end of the handshake', async () => {
    const server = await start(versions)
    await new Promise<void>((resolve, reject) => {
      const socket = connect({ port: server.port, ca: root.pem, servername: 'localhost' })
      // written before the handshake: Node sends it in the flight of the Finished message
      socket.end('GET /early HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')
      socket.resume().on('close', () => { resolve() }).on('error', reject)
    })
    expect(server.decryptedBytes).toBe('GET /early HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n'.length)
    expect(server.requests.map(({ url }) => url)).toEqual(['/early'])
  })

  test('resumes with tickets, not without', async () => {
    for (const sessionTickets of [true, false]) {
      const server = await start({ ...versions, sessionTickets })
      const agent = newAgent()
      for (const _ of [1, 2, 3]) await send(server.port, { agent, headers: { connection: 'close' } })
      expect(server).toMatchObject({ handshakes: 3, resumed: sessionTickets ? 2 : 0 })
    }
  })

  test('a swapped certificate is presented, and former sessions resume only on demand', async () => {
    for (const keepTicketKeys of [false, true]) {
      const server = await start(versions)
      const agent = newAgent()
      await send(server.port, { agent, headers: { connection: 'close' } })
      const swapped = root.issue()
      server.swapCertificate(swapped, { keepTicketKeys })
      await send(server.port, { agent, headers: { connection: 'close' } })
      expect(server.resumed).toBe(keepTicketKeys ? 1 : 0)
      expect((await peerChain(server.port))[0]).toBe(swapped.fingerprint)
    }
  })

  test('a client that sends nothing leaves zero octets', async () => {
    const server = await start(versions)
    await expect(send(server.port, { ca: createAuthority().pem })).rejects.toThrow()
    await until(() => server.openSockets === 0)
    expect(server).toMatchObject({ connections: 1, decryptedBytes: 0, requests: [] })
  })
})

test('the chain is sent as given', async () => {
  const junk = [createAuthority(), createSelfSigned(), root]
  const server = await start({ chain: [...junk, intermediate] })
  expect(await sentCertificates(server.port)).toEqual([certificate, ...junk, intermediate].map((one) => one.der.toString('hex')))

  const alone = await start({ chain: [] })
  expect(await sentCertificates(alone.port)).toEqual([certificate.der.toString('hex')])
})

test('weak certificates are sent too', async () => {
  const weak = createAuthority({ key: { rsa: 1024 }, signatureHash: 'sha1' })
  const leaf = weak.issueAuthority({ key: { rsa: 1024 }, signatureHash: 'sha1' }).issue({ signatureHash: 'sha1', key: { rsa: 1024 } })
  const server = await start({ certificate: leaf })
  expect(await sentCertificates(server.port)).toEqual(leaf.chain.map((one) => one.der.toString('hex')))
})

test('certificates by server name', async () => {
  const other = root.issue({ names: ['other.test'] })
  const server = await start({ sni: { 'other.test': other } })
  expect((await peerChain(server.port, { servername: 'other.test' }))[0]).toBe(other.fingerprint)
  expect((await peerChain(server.port, { servername: 'localhost' }))[0]).toBe(certificate.fingerprint)
  await until(() => server.handshakes === 2)
  expect(server.serverNames).toEqual(['other.test', 'localhost'])
})

test('client certificates', async () => {
  const server = await start({ requestCert: true, ca: root, maxVersion: 'TLSv1.2' })
  const client = root.issue({ extendedKeyUsage: ['clientAuth'] })
  await expect(send(server.port, {})).rejects.toThrow()
  await expect(send(server.port, { cert: client.pem, key: client.keyPem })).resolves.toMatchObject({ status: 200 })
  expect(server.requests).toHaveLength(1)

  const lone = root.issue()
  for (const [ca, sent] of [[createAuthority(), 1], [root, 2]] as const) {
    const completing = await start({ requestCert: true, rejectUnauthorized: false, ca, certificate: lone })
    expect(await sentCertificates(completing.port)).toHaveLength(sent)
  }
})

test('TLS 1.2 resumes by the session\'s identifier', async () => {
  const server = await start({ maxVersion: 'TLSv1.2', sessionTickets: false, sessionCache: true })
  const agent = newAgent()
  for (const _ of [1, 2]) await send(server.port, { agent, headers: { connection: 'close' } })
  expect(server).toMatchObject({ handshakes: 2, resumed: 1 })
})

test('two servers with equal ticket keys resume each other\'s sessions', async () => {
  const ticketKeys = randomBytes(48)
  const [one, two] = [await start({ ticketKeys, maxVersion: 'TLSv1.2' }), await start({ ticketKeys, maxVersion: 'TLSv1.2', certificate: root.issue() })]
  const { session } = await talk(one.port, Buffer.from('x'), {})
  await talk(two.port, Buffer.from('x'), session ? { session } : {})
  expect(two.resumed).toBe(1)
})

test('keep-alive, handlers and closing without an announcement', async () => {
  const server = await start({ handler: (request, response) => { response.writeHead(302, { location: request.url ?? '' }).end() } })
  const agent = newAgent()
  for (const path of ['/1', '/2']) expect((await send(server.port, { agent, path })).status).toBe(302)
  expect(server.connections).toBe(1)
  expect(server.requests.map(({ connection }) => connection)).toEqual([1, 1])

  const curt = await start({ closeAfterResponse: true })
  for (const _ of [1, 2]) {
    await send(curt.port, { agent })
    await until(() => curt.openSockets === 0)
    await new Promise(setImmediate)
  }
  expect(curt.connections).toBe(2)
})

test('close() ends everything that is still open', async () => {
  const server = await start({ handler: () => {} })
  const pending = send(server.port, { agent: newAgent() }).catch((error: NodeJS.ErrnoException) => error.code)
  const halfOpen = connectTcp(server.port, '127.0.0.1').on('error', () => {})
  await until(() => server.requests.length === 1 && server.openSockets === 2)
  await Promise.all([server.close(), server.close()])
  expect(await pending).toBe('ECONNRESET')
  expect(server.openSockets).toBe(0)
  halfOpen.destroy()
})

test('a stalled server takes the ClientHello and says nothing', async () => {
  const server = await startStalledServer()
  closing.push(server.close)
  const socket = connect({ port: server.port }).on('error', () => {})
  await until(() => server.receivedBytes > 100)
  expect(server).toMatchObject({ connections: 1, openSockets: 1 })
  await server.close()
  socket.destroy()
})

test('a resetting server cuts at connecting, at the ClientHello, amid the handshake and amid the response', async () => {
  // the client sees a reset, or what it makes of one that comes before it looks
  const cut = /ECONNRESET|EPIPE|socket hang up|disconnected/
  for (const options of [{ afterReceived: 0 }, {}, { how: 'close' as const }]) {
    const server = await startResettingServer(options)
    closing.push(server.close)
    await expect(send(server.port, {})).rejects.toThrow(cut)
    expect(server.connections).toBe(1)
  }

  const upstream = await start({ handler: (_request, response) => { response.end('x'.repeat(100_000)) } })
  for (const [afterSent, requests] of [[100, 0], [20_000, 1]] as const) {
    for (const how of ['reset', 'close'] as const) {
      const server = await startResettingServer({ upstream, afterSent, how })
      closing.push(server.close)
      const before = upstream.requests.length
      await expect(send(server.port, {})).rejects.toThrow(/ECONNRESET|EPIPE|socket hang up|disconnected|aborted/)
      expect(upstream.requests.length - before).toBe(requests)
    }
  }
})

test('a plain server counts requests and octets', async () => {
  const server = await startPlainServer()
  closing.push(server.close)
  await new Promise((resolve) => getHttp(`${server.url}/plain`, { agent: false }, (response) => response.resume().on('end', resolve)))
  expect(server.requests).toMatchObject([{ url: '/plain', connection: 1 }])
  expect(server.receivedBytes).toBeGreaterThan('GET /plain HTTP/1.1\r\n\r\n'.length)
})

test('every key kind that TLS 1.3 knows is presented by a server', async () => {
  for (const key of ['rsa-pss', 'ed448', { rsa: 3072 }] as const) {
    const leaf = intermediate.issue({ key: generateKey(key) })
    const server = await start({ certificate: leaf, minVersion: 'TLSv1.3' })
    expect((await peerChain(server.port))[0]).toBe(leaf.fingerprint)
  }
})

async function start (options: Partial<TestServerOptions>) {
  const server = await startServer({ certificate, ...options })
  closing.push(server.close)
  return server
}

function newAgent (): Agent {
  const agent = new Agent({ keepAlive: true })
  closing.push(() => { agent.destroy() })
  return agent
}

async function send (port: number, options: RequestOptions, body = ''): Promise<{ status: number | undefined, body: string }> {
  return await new Promise((resolve, reject) => {
    const outgoing = httpsRequest({ port, host: 'localhost', ca: root.pem, agent: false, ...options }, (response: IncomingMessage) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('end', () => { resolve({ status: response.statusCode, body: Buffer.concat(chunks).toString() }) })
      response.on('error', reject)
    })
    outgoing.on('error', reject).end(body)
  })
}

/** Writes after the handshake, waits for the server's end, and hands back the last session it got. */
async function talk (port: number, data: Buffer, options: ConnectionOptions): Promise<{ session: Buffer | undefined }> {
  return await new Promise((resolve, reject) => {
    let session: Buffer | undefined
    const socket = connect({ port, host: '127.0.0.1', ca: root.pem, servername: 'localhost', ...options })
    socket.on('session', (received: Buffer) => { session = received })
    socket.on('secureConnect', () => { socket.write(data) })
    socket.setTimeout(300, () => socket.end())
    socket.on('error', (error: NodeJS.ErrnoException) => { if (error.code !== 'ECONNRESET') reject(error) })
    socket.resume().on('close', () => { resolve({ session }) })
  })
}

async function untrusting<Result> (port: number, options: ConnectionOptions, look: (socket: TLSSocket) => Result): Promise<Result> {
  return await new Promise((resolve, reject) => {
    const socket = connect({
      port, host: '127.0.0.1', servername: 'localhost', rejectUnauthorized: false, ciphers: 'DEFAULT@SECLEVEL=0', ...options,
    }, () => {
      resolve(look(socket))
      socket.end()
    })
    socket.resume().on('error', reject)
  })
}

async function peerChain (port: number, options: ConnectionOptions = {}): Promise<string[]> {
  return await untrusting(port, options, (socket) => {
    const fingerprints: string[] = []
    for (let one = socket.getPeerX509Certificate(); one; one = one.issuerCertificate) fingerprints.push(one.fingerprint256)
    return fingerprints
  })
}

/** The Certificate message in TLS 1.2 is not encrypted: Node shows a chain in its own order only, the wire the true one. */
async function sentCertificates (port: number): Promise<string[]> {
  const chunks: Buffer[] = []
  const tap = createTcpServer((client) => {
    const server = connectTcp(port, '127.0.0.1').on('data', (chunk: Buffer) => { chunks.push(chunk) })
    client.pipe(server).pipe(client)
    for (const socket of [client, server]) socket.on('error', () => { client.destroy(); server.destroy() })
  })
  await new Promise<void>((resolve) => { tap.listen(0, '127.0.0.1', resolve) })
  await untrusting((tap.address() as AddressInfo).port, { maxVersion: 'TLSv1.2' }, () => {})
  tap.close()
  const handshake = records(Buffer.concat(chunks))
  for (let at = 0; at < handshake.length; at += 4 + handshake.readUIntBE(at + 1, 3)) {
    if (handshake[at] === 11) return certificateList(handshake.subarray(at + 7, at + 4 + handshake.readUIntBE(at + 1, 3)))
  }
  return []
}

/** The content of the handshake records up to ChangeCipherSpec. */
function records (wire: Buffer): Buffer {
  const contents: Buffer[] = []
  for (let at = 0; at + 5 <= wire.length && wire[at] === 22; at += 5 + wire.readUInt16BE(at + 3)) {
    contents.push(wire.subarray(at + 5, at + 5 + wire.readUInt16BE(at + 3)))
  }
  return Buffer.concat(contents)
}

function certificateList (list: Buffer): string[] {
  const certificates: string[] = []
  for (let at = 0; at < list.length; at += 3 + list.readUIntBE(at, 3)) {
    certificates.push(list.subarray(at + 3, at + 3 + list.readUIntBE(at, 3)).toString('hex'))
  }
  return certificates
}

async function until (condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}
