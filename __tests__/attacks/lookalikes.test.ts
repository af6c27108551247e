import { testAttack } from '../support/attack.js'
import { createAuthority, impersonate } from '../support/pki.js'

/*
 * Certificates that look like a link to the pinned CA to whoever goes by names and key ids, as Node's
 * getPeerCertificate(true) does. In the drawings, what the attacker sends is in brackets.
 */

const pinned = createAuthority({ name: 'Pinned Root' })
const attacker = createAuthority({ name: 'Attacker Root' })
const past = { notBefore: new Date('2020-01-01'), notAfter: new Date('2021-01-01') }
const future = { notBefore: new Date('2090-01-01'), notAfter: new Date('2091-01-01') }

/*
 *  genuine                 attacker, as OpenSSL sees it     as it looks by name
 *  Pinned Root             Attacker Root (trusted)          Pinned Root
 *    └─ [leaf]               └─ [leaf]                        └─ ["Attacker Root", junk]
 *                                                                  └─ [leaf]
 */
testAttack("a junk certificate bears the trusted root's name and names the pinned CA as its issuer", {
  pinned,
  attacker,
  leaf: attacker.issue(),
  served: [createAuthority({ subjectNameOf: attacker, subjectKeyId: attacker.subjectKeyId ?? null, issuerNameOf: pinned })],
  fools: ['getPeerCertificate(true)']
})

/*
 *  genuine                 attacker, as OpenSSL sees it     as it looks by name
 *  Pinned Root             Attacker Root (trusted)          Pinned Root
 *    └─ [leaf]               └─ [leaf]                        └─ ["Attacker Root": its key too, signature made up]
 *                                                                  └─ [leaf]
 */
testAttack("a junk certificate bears the trusted root's name and key, and its issuer's signature is made up", {
  pinned,
  attacker,
  leaf: attacker.issue(),
  served: [createAuthority({ subjectNameOf: attacker, key: attacker.key, issuerNameOf: pinned, corruptSignature: true })],
  fools: ['getPeerCertificate(true)']
})

/*
 *  genuine                 attacker                         as it looks by name
 *  Pinned Root             Attacker Root                    Pinned Root
 *    └─ [leaf]               └─ [Attacker CA]                 └─ ["Attacker CA", junk, expired, served first]
 *                                 └─ [leaf]                        └─ [leaf]
 */
for (const [when, dates] of [['expired', past], ['future', future]] as const) {
  const own = attacker.issueAuthority({ name: 'Attacker CA' })
  const junk = createAuthority({ subjectNameOf: own, subjectKeyId: own.subjectKeyId ?? null, issuerNameOf: pinned, ...dates })
  testAttack(`a junk ${when} intermediate precedes the real one`, {
    pinned,
    attacker,
    leaf: own.issue(),
    served: [junk, own],
    fools: ['getPeerCertificate(true)']
  })
}

/*
 *  genuine                            attacker                      as it looks by name
 *  Pinned Root                        Attacker Root                 Pinned Root
 *    └─ [Issuing CA, now expired]       └─ ["Issuing CA", fake]       └─ [Issuing CA, genuine, expired, served first]
 *         └─ [leaf]                          └─ [leaf]                     └─ [leaf]
 */
{
  const issuing = pinned.issueAuthority({ name: 'Issuing CA', ...past })
  const fake = attacker.issueAuthority({ subjectNameOf: issuing, subjectKeyId: issuing.subjectKeyId ?? null })
  testAttack('the genuine but expired pinned CA comes first, a fake of the same name second', {
    pinned: issuing,
    attacker,
    trusted: [pinned, attacker],
    leaf: fake.issue(),
    served: [issuing, fake],
    fools: ['getPeerCertificate(true)', 'issuerCertificate']
  })
}

/*
 *  genuine                            attacker
 *  Pinned Root                        Attacker Root
 *    └─ [Issuing CA]                    └─ ["Issuing CA", fake: same name, same key id, another key]
 *         └─ [leaf]                          └─ [leaf]          and the genuine [Issuing CA] before or after it
 */
for (const first of ['fake', 'genuine'] as const) {
  const issuing = pinned.issueAuthority({ name: 'Issuing CA' })
  const fake = attacker.issueAuthority({ subjectNameOf: issuing, subjectKeyId: issuing.subjectKeyId ?? null })
  testAttack(`a fake has the name and the key id of the pinned CA; the ${first} one comes first`, {
    pinned: issuing,
    attacker,
    trusted: [pinned, attacker],
    leaf: fake.issue(),
    served: first === 'fake' ? [fake, issuing] : [issuing, fake],
    fools: first === 'fake' ? ['issuerCertificate'] : [],
    // OpenSSL goes by name and key id as well, takes the genuine one for the issuer, and finds that the signature is wrong.
    ...(first === 'genuine' && { node: /^CERT_SIGNATURE_FAILURE$/, refusal: /^(CERT_SIGNATURE_FAILURE|ERR_PIN_MISMATCH)$/ })
  })
}

/*
 *  genuine                 attacker
 *  Pinned Root             Attacker Root
 *    └─ [leaf]               └─ ["Pinned Root": same name, same key id, another key]
 *                                 └─ [leaf]
 */
{
  const fake = attacker.issueAuthority({ subjectNameOf: pinned, subjectKeyId: pinned.subjectKeyId ?? null })
  testAttack("a sub-CA of the attacker's bears the pinned root's name and key id", {
    pinned,
    attacker,
    leaf: fake.issue(),
    served: [fake],
    fools: [],
    // OpenSSL looks among the trusted certificates first, and finds the genuine root.
    node: /^CERT_SIGNATURE_FAILURE$/,
    refusal: /^(CERT_SIGNATURE_FAILURE|ERR_PIN_MISMATCH)$/
  })
}

/*
 *  genuine                 attacker
 *  Pinned Root             [Pinned Root: a fake, self-signed]       (trusted: the genuine one only)
 *    └─ [leaf]               └─ [leaf]
 */
{
  const fake = impersonate(pinned)
  testAttack('the root itself is impersonated', {
    pinned,
    attacker: fake,
    trusted: [pinned, attacker],
    leaf: fake.issue(),
    served: [fake],
    fools: [],
    node: /^(CERT_SIGNATURE_FAILURE|SELF_SIGNED_CERT_IN_CHAIN)$/,
    refusal: /^(CERT_SIGNATURE_FAILURE|SELF_SIGNED_CERT_IN_CHAIN)$/
  })
}
