import { detailsOf } from '../../lib/verify/details.js'
import { createAuthority, createSelfSigned, generalNames } from '../support/pki.js'

test('the names are told one by one, also where one looks like several', () => {
  expect(detailsOf(createSelfSigned({ names: ['a.test', '127.0.0.1', 'email:x@y.test'] }).x509).names).toEqual(['DNS:a.test', 'IP Address:127.0.0.1', 'email:x@y.test'])
  expect(detailsOf(createSelfSigned({ rawSan: generalNames(['dns', 'a.test, DNS:b.test']) }).x509).names).toHaveLength(1)
  expect(detailsOf(createSelfSigned({ names: null }).x509).names).toEqual([])
})

test.each(['ff', '3003820161', '30038201', '04020000'])('names that cannot be read are none: %s', (hex) => {
  expect(detailsOf(createSelfSigned({ rawSan: Buffer.from(hex, 'hex').subarray(0, 4) }).x509)).toMatchObject({ names: expect.any(Array) as string[], ca: false })
})

test.each([
  [{ key: 'rsa' as const }, 'RSA 2048', 'sha256WithRSAEncryption'],
  [{ key: 'p384' as const, signatureHash: 'sha384' as const }, 'EC P-384', 'ecdsa-with-SHA384'],
  [{ key: 'ed25519' as const }, 'Ed25519', 'ED25519'],
  [{ key: 'rsa' as const, pssSignature: true, signatureHash: 'sha384' as const }, 'RSA 2048', 'rsassaPss with sha384']
])('key and signature are told: %j', (options, key, signature) => {
  expect(detailsOf(createAuthority(options).x509)).toMatchObject({ key, signature, ca: true })
})
