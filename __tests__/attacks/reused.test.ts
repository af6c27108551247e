import { testAttack } from '../support/attack.js'
import type { NaiveCheck } from '../support/attack.js'
import { createAuthority, der, generateKey } from '../support/pki.js'
import type { Authority, CertificateOptions } from '../support/pki.js'

/*
 * One key, certified twice: by the pinned CA, under a limit that makes that certificate useless for issuing the leaf,
 * and by the attacker's own CA without any limit. OpenSSL takes the second way. Whoever looks for the pinned CA among
 * what was sent, and forgets about the limit, takes the first.
 *
 *  as OpenSSL sees it                        as it must not be seen
 *  Attacker Root (trusted, not pinned)       Pinned Root
 *    └─ [Customer CA, no limit]                └─ [Customer CA, but: LIMIT]
 *         └─ [leaf]                                 └─ [leaf]
 *
 * Each limit is attacked twice more: with an attacker's path that the client's own chain builder can follow, and with
 * one that only OpenSSL can (it has a name constraint on e-mail addresses), so that the limited way is the only one that
 * the builder finds.
 */

const pinned = createAuthority({ name: 'Pinned Root' })
const pinnedRsa = createAuthority({ name: 'Pinned RSA Root', key: 'rsa' })
const attacker = createAuthority({ name: 'Attacker Root' })
const past = { notBefore: new Date('2020-01-01'), notAfter: new Date('2021-01-01') }
const future = { notBefore: new Date('2090-01-01'), notAfter: new Date('2091-01-01') }

const customer = { name: 'Customer CA', key: generateKey('p256') }
const customerKeyId = createAuthority(customer).subjectKeyId ?? null

const limits: Array<[limit: string, certify: () => Authority, fools?: NaiveCheck[]]> = [
  //  Pinned Root └─ Customer CA, notAfter 2021 └─ leaf
  ['it has expired', () => pinned.issueAuthority({ ...customer, ...past })],
  //  Pinned Root └─ Customer CA, notBefore 2090 └─ leaf
  ['it is not yet valid', () => pinned.issueAuthority({ ...customer, ...future })],
  //  Pinned Root └─ Customer, CA:FALSE, for TLS servers └─ leaf
  ['it is an end entity', () => pinned.issueAuthority({ ...customer, ca: false, keyUsage: ['digitalSignature'], extendedKeyUsage: ['serverAuth'] }), []],
  //  Pinned Root └─ Customer, CA:FALSE, without any usages └─ leaf
  ['it is an end entity without usages', () => pinned.issueAuthority({ ...customer, ca: false, keyUsage: null })],
  //  Pinned Root └─ Customer, no basicConstraints └─ leaf
  ['it does not say that it is a CA', () => pinned.issueAuthority({ ...customer, basicConstraints: false, keyUsage: null })],
  //  Pinned Root └─ Customer CA, for signing CRLs only └─ leaf
  ['it may not sign certificates', () => pinned.issueAuthority({ ...customer, keyUsage: ['cRLSign'] }), []],
  //  Pinned Root └─ Customer CA, for other.test only └─ leaf for localhost
  ['its names are limited to another domain', () => pinned.issueAuthority({ ...customer, nameConstraints: { permitted: ['other.test'] } })],
  //  Pinned Root └─ Customer CA, not for localhost └─ leaf for localhost
  ['the name is excluded', () => pinned.issueAuthority({ ...customer, nameConstraints: { excluded: ['localhost'] } })],
  //  Pinned Root └─ Customer CA, not for 127.0.0.0/8, and not critical └─ leaf for 127.0.0.1
  ['the address is excluded, not critically', () => pinned.issueAuthority({ ...customer, nameConstraints: { excluded: ['127.0.0.0/8'], critical: false } })],
  //  Pinned Root └─ Customer CA, for signing programs └─ leaf
  ['it is for code signing', () => pinned.issueAuthority({ ...customer, extendedKeyUsage: ['codeSigning'] })],
  //  Pinned Root └─ Customer CA, for e-mail and TLS clients └─ leaf
  ['it is for e-mail and clients', () => pinned.issueAuthority({ ...customer, extendedKeyUsage: ['emailProtection', 'clientAuth'] })],
  //  Pinned Root └─ Customer CA, 1.2.3.4 critical └─ leaf
  ['it has an unknown critical extension', () => pinned.issueAuthority({ ...customer, extensions: [{ oid: '1.2.3.4', critical: true, value: der.none() }] })],
  //  Pinned Root ─(SHA-1)─ Customer CA └─ leaf: the signature may have been made for something else
  ['it is signed over SHA-1', () => pinned.issueAuthority({ ...customer, signatureHash: 'sha1' })],
  //  Pinned Root ─(SHA-1, RSA)─ Customer CA └─ leaf
  ['it is signed over SHA-1 with RSA', () => pinnedRsa.issueAuthority({ ...customer, signatureHash: 'sha1' })],
  //  Pinned Root ─(SHA-1, RSA-PSS)─ Customer CA └─ leaf
  ['it is signed over SHA-1 with RSA-PSS', () => pinnedRsa.issueAuthority({ ...customer, signatureHash: 'sha1', pssSignature: true })],
  //  Pinned Root ─(made up)─ Customer CA └─ leaf
  ['its signature is made up', () => pinned.issueAuthority({ ...customer, corruptSignature: true }), []],
  //  Pinned Root └─ Customer CA, key id X └─ leaf, naming an issuer with key id Y
  ['its key id is another', () => pinned.issueAuthority({ ...customer, subjectKeyId: Buffer.alloc(20, 7) }), []]
]

/** What lets only OpenSSL follow a path: our own chain builder does not evaluate constraints on e-mail addresses. */
const opaque: CertificateOptions = { nameConstraints: { excluded: ['email:nobody.test'] } }

/** Our own builder finds no path; where OpenSSL decides alone, its own reason comes up. */
const withoutPath = /^(ERR_PIN_CHAIN_UNVERIFIED|ERR_PIN_MISMATCH|UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?|UNABLE_TO_VERIFY_LEAF_SIGNATURE)$/

for (const [limit, certify, fools = ['signatures'] as NaiveCheck[]] of limits) {
  const limited = certify()
  for (const way of ['the client can follow', 'only OpenSSL can follow'] as const) {
    const free = attacker.crossSign(limited, { subjectKeyId: customerKeyId, ...(way === 'only OpenSSL can follow' && opaque) })
    testAttack(`the CA has a certificate of the pinned CA, but ${limit}; its other path is one that ${way}`, {
      pinned: limited.issuer as Authority,
      attacker,
      leaf: free.issue(),
      served: [free, limited],
      fools,
      ...(way === 'only OpenSSL can follow' && { refusal: withoutPath })
    })
  }
}

/*
 *  as OpenSSL sees it                        as it looks by name
 *  Attacker Root                             Pinned Root
 *    └─ [Customer CA]                          └─ [Customer CA, expired, served first]
 *         └─ [leaf]                                 └─ [leaf]
 */
{
  const limited = pinned.issueAuthority({ ...customer, ...past })
  const free = attacker.crossSign(limited)
  testAttack('a customer whose certificate of the pinned CA has expired serves it first', {
    pinned,
    attacker,
    leaf: free.issue(),
    served: [limited, free],
    fools: ['getPeerCertificate(true)', 'signatures']
  })
}

/*
 *  as OpenSSL sees it                   as it must not be seen
 *  Attacker Root                        Pinned Root
 *    └─ [Customer CA]                     └─ [Customer CA, path length 0]
 *         └─ [Second CA]                       └─ [Second CA: the limit forbids it]
 *              └─ [leaf]                            └─ [leaf]
 */
for (const way of ['the client can follow', 'only OpenSSL can follow'] as const) {
  const limited = pinned.issueAuthority({ ...customer, pathLength: 0 })
  const free = attacker.crossSign(limited, way === 'only OpenSSL can follow' ? opaque : {})
  const second = limited.issueAuthority({ name: 'Second CA' })
  testAttack(`a CA whose path length is 0 issues another CA; its other path is one that ${way}`, {
    pinned,
    attacker,
    leaf: second.issue(),
    served: [second, free, limited],
    fools: ['signatures'],
    ...(way === 'only OpenSSL can follow' && { refusal: withoutPath })
  })
}

/*
 *  as OpenSSL sees it                   as it must not be seen
 *  Attacker Root                        Pinned Root
 *    └─ [Weak CA]                         └─ [Upper CA, of a key that can be worked out]
 *         └─ [leaf]                            └─ [Weak CA]
 *                                                   └─ [leaf]
 */
for (const [weakness, key] of [['RSA of 512 bits', generateKey({ rsa: 512 })], ['RSA of 1024 bits', generateKey({ rsa: 1024 })]] as const) {
  const upper = pinned.issueAuthority({ name: 'Upper CA', key })
  const lower = upper.issueAuthority({ name: 'Weak CA' })
  const free = attacker.crossSign(lower, opaque)
  testAttack(`the pinned CA once certified a CA of a weak key (${weakness})`, {
    pinned,
    attacker,
    leaf: lower.issue(),
    served: [free, lower, upper],
    fools: ['signatures'],
    refusal: withoutPath
  })
}
