import { generateKeyPairSync } from 'node:crypto'
import { signManifest, verifyManifest } from '../../lib/update/manifest.js'
import { SigningTrust } from '../../lib/update/trust.js'

const now = Date.parse('2026-06-01T12:00:00Z')
const payload = { version: 7, issued: '2026-06-01T11:00:00Z', expires: '2026-06-08T11:00:00Z', audience: 'test', pins: { 'api.example.com': ['sha256/Y9mvm0exBk1JoQ57f9Vm28jKo5lFm/woKcVxrYxu80o='] } }

test.each(['ed25519', 'ec'] as const)('a set signed with %s is accepted', async (kind) => {
  const { publicKey, privateKey } = kind === 'ec' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('ed25519')
  const text = await signManifest(payload, [privateKey])
  const set = await verifyManifest(text, { trust: SigningTrust.of([publicKey]), audience: 'test', now })
  expect(set).toMatchObject({ version: 7, pins: payload.pins, refreshMs: 3_600_000, changesTrust: false })
})
