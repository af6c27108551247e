import { once } from 'node:events'
import { request } from 'node:https'
import { connect } from 'node:tls'
import { createAuthority, faults, startHttpsServer, startTlsServer } from '../../lib/testing/index.js'

const root = createAuthority()
const issuing = root.issueAuthority()

function codeOf(url: string): Promise<string> {
  return new Promise((resolve) => {
    request(url, { ca: root.pem, agent: false }, (response) => response.resume().once('end', () => resolve('accepted')))
      .once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
      .end()
  })
}

test('an HTTPS server in one line; it shows another certificate when it is told to, and another chain', async () => {
  const leaf = issuing.issue()
  const server = await startHttpsServer(leaf)
  expect([await codeOf(server.url), server.receivedBytes > 0]).toEqual(['accepted', true])
  server.present(createAuthority().issue())
  const before = server.receivedBytes
  expect(await codeOf(server.url)).toBe('UNABLE_TO_VERIFY_LEAF_SIGNATURE')
  server.present(leaf, [leaf])
  expect(await codeOf(server.url)).toBe('UNABLE_TO_VERIFY_LEAF_SIGNATURE')
  expect(server.receivedBytes).toBe(before)
  server.present(leaf)
  expect(await codeOf(server.url)).toBe('accepted')
  await server.close()
})

test.each([
  ['expired', 'CERT_HAS_EXPIRED'],
  ['notYetValid', 'CERT_NOT_YET_VALID'],
  ['wrongName', 'ERR_TLS_CERT_ALTNAME_INVALID'],
  ['badSignature', 'CERT_SIGNATURE_FAILURE'],
  ['wrongPurpose', 'INVALID_PURPOSE']
] as const)('%s is refused with %s', async (fault, code) => {
  const server = await startHttpsServer(issuing.issue(faults[fault]))
  expect([await codeOf(server.url), server.receivedBytes]).toEqual([code, 0])
  await server.close()
})

test('a TLS server in one line sends back what it gets; close() ends its connections', async () => {
  const leaf = root.issue()
  const server = await startTlsServer(leaf, undefined, { minVersion: 'TLSv1.3', chain: [leaf] })
  const socket = connect({ host: '127.0.0.1', port: server.port, servername: 'localhost', ca: root.pem })
  socket.on('error', () => undefined)
  socket.write('ping')
  const [answer] = (await once(socket, 'data')) as [Buffer]
  expect([String(answer), server.receivedBytes, socket.getProtocol()]).toEqual(['ping', 4, 'TLSv1.3'])
  const closed = once(socket, 'close')
  await server.close()
  await closed
})
