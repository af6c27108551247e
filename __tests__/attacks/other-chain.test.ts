import axios from 'axios'
import { pinAxios } from '../../lib/index.js'
import type { PinReport, PinningOptions } from '../../lib/index.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'

// One leaf, whose issuer two roots vouch for: which chain is verified depends on what the server sends with the leaf. What was
// found, told or diagnosed on one connection must not decide about another.
const [first, second] = [createAuthority({ name: 'First Root' }), createAuthority({ name: 'Second Root' })]
const issuing = first.issueAuthority()
const crossed = second.crossSign(issuing)
const leaf = issuing.issue()
const backup = createSelfSigned()
const viaFirst = [issuing]
const viaSecond = [crossed]

type Policy = NonNullable<PinningOptions['pins']>[string]
const mismatch = { publicKeys: [backup.pin] }
const byLeaf = { publicKeys: [leaf.pin, backup.pin] }
const rejecting = { publicKeys: [leaf.pin, backup.pin], rejected: [second.pin] }
const byRoot = { authorities: [first.pin], publicKeys: [backup.pin] }

const cases: Array<{ title: string; before: Policy; reads?: boolean; then: Policy; chains: [typeof viaFirst, typeof viaFirst]; answers: [string, string] }> = [
  { title: 'refused and diagnosed under the one root, then served under the rejected one', before: mismatch, then: rejecting, chains: [viaFirst, viaSecond], answers: ['ERR_PIN_MISMATCH', 'ERR_PIN_MISMATCH'] },
  { title: 'accepted, its chain read in the callback, then served under the rejected one', before: byLeaf, reads: true, then: rejecting, chains: [viaFirst, viaSecond], answers: ['200', 'ERR_PIN_MISMATCH'] },
  { title: 'accepted with its chain under the one root, then served under the rejected one', before: rejecting, then: rejecting, chains: [viaFirst, viaSecond], answers: ['200', 'ERR_PIN_MISMATCH'] },
  { title: 'refused and diagnosed under the other root, then served under the pinned one', before: mismatch, then: byRoot, chains: [viaSecond, viaFirst], answers: ['ERR_PIN_MISMATCH', '200'] },
  { title: 'accepted, its chain read in the callback, then served under the pinned one', before: byLeaf, reads: true, then: byRoot, chains: [viaSecond, viaFirst], answers: ['200', '200'] },
  { title: 'refused for its chain, then served under the pinned one', before: byRoot, then: byRoot, chains: [viaSecond, viaFirst], answers: ['ERR_PIN_MISMATCH', '200'] }
]

test.each(cases)('$title', async ({ before, reads, then, chains, answers }) => {
  const server = await startServer({ certificate: leaf, chain: chains[0] })
  const api = axios.create({ baseURL: server.url, proxy: false })
  const onValidCertificate = reads ? (report: PinReport): void => expect(report.chainPem).toHaveLength(3) : undefined
  const pinning = pinAxios(api, { pins: { localhost: before }, tls: { ca: [first.pem, second.pem] }, agent: { keepAlive: false, maxCachedSessions: 0 }, ...(onValidCertificate && { onValidCertificate }) })
  const ask = (): Promise<string> => api.post<unknown>('/', 'secret').then(({ status }) => String(status), (error: Error & { code: string }) => error.code)
  try {
    const outcomes = [await ask()]
    server.swapCertificate(leaf, { chain: chains[1] })
    pinning.update({ localhost: then })
    const bytes = server.decryptedBytes
    outcomes.push(await ask())
    expect(outcomes).toEqual(answers)
    expect(server.decryptedBytes > bytes).toBe(answers[1] === '200')
  } finally {
    await pinning.close()
    await server.close()
  }
})
