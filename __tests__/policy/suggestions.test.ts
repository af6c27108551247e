import { createPinningAgent } from '../../lib/index.js'
import { send } from '../support/clients.js'
import { createAuthority } from '../support/pki.js'
import { startServer } from '../support/servers.js'

const root = createAuthority({ name: 'Suggestions Root' })
const pins = { 'other.test': [root.pin, root.issue().pin] }

test('a library for suggestions that cannot be loaded takes nothing from an error, and from report-only no request', async () => {
  const server = await startServer({ certificate: root.issue() })
  jest.resetModules()
  jest.doMock('../../lib/late.cts', () => ({ ...jest.requireActual<object>('../../lib/late.cts'), loadLevenshtein: () => { throw Object.assign(new Error('too many open files'), { code: 'EMFILE' }) } }))
  jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
  try {
    const { createPinningAgent: create } = await import('../../lib/index.js')
    expect(create).not.toBe(createPinningAgent)
    const enforcing = create({ pins, tls: { ca: root.pem } })
    expect(await send(enforcing, server.port, { body: 'secret' })).toMatchObject({ code: 'ERR_PIN_HOST_UNPINNED' })
    expect(server.decryptedBytes).toBe(0)
    const reporting = create({ pins, tls: { ca: root.pem }, mode: 'report-only' })
    expect(await send(reporting, server.port)).toMatchObject({ status: 200 })
    expect(() => create({ pinz: pins } as never)).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID' }))
    for (const agent of [enforcing, reporting]) agent.destroy()
  } finally {
    jest.restoreAllMocks()
    jest.dontMock('../../lib/late.cts')
    jest.resetModules()
    await server.close()
  }
})
