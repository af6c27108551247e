import { testAttack } from '../support/attack.js'
import { createAuthority } from '../support/pki.js'

/*
 * The certificate of a pinned CA is public, and a server may send along whatever it likes. So none of what was sent
 * counts unless it is in the path whose signatures hold. In the drawings, what the attacker sends is in brackets.
 */

const pinned = createAuthority({ name: 'Pinned Root' })
const attacker = createAuthority({ name: 'Attacker Root' })

/*
 *  genuine                 attacker
 *  Pinned Root             Attacker Root     [Pinned Root]
 *    └─ [leaf]               └─ [leaf]
 */
testAttack('the pinned root is appended', {
  pinned,
  attacker,
  leaf: attacker.issue(),
  served: [pinned],
  fools: ['issuerCertificate']
})

/*
 *  genuine                 attacker
 *  Pinned Root             Attacker Root
 *    └─ [Issuing CA]         └─ [Attacker CA]     [Issuing CA]
 *         └─ [leaf]               └─ [leaf]
 */
{
  const issuing = pinned.issueAuthority({ name: 'Issuing CA' })
  const own = attacker.issueAuthority({ name: 'Attacker CA' })
  testAttack('the pinned intermediate is appended', {
    pinned: issuing,
    attacker,
    trusted: [pinned, attacker],
    leaf: own.issue(),
    served: [own, issuing],
    fools: ['issuerCertificate']
  })
}

/*
 *  genuine                 attacker
 *  Pinned Root             Attacker Root     [Pinned Root]
 *    └─ [Issuing CA]         └─ [leaf]         └─ [Issuing CA]
 *         └─ [leaf]                                 └─ [genuine leaf]
 */
{
  const issuing = pinned.issueAuthority({ name: 'Issuing CA' })
  testAttack('the whole genuine chain is appended', {
    pinned,
    attacker,
    leaf: attacker.issue(),
    served: [...issuing.issue().chain, pinned],
    fools: ['issuerCertificate']
  })
}

/*
 *  genuine                 attacker
 *  Pinned Root (key K)     Attacker Root
 *    └─ [leaf]               ├─ [leaf]
 *                            └─ [a CA's certificate for the key K, in no path to the leaf]
 */
{
  const crossed = attacker.crossSign(pinned, { subject: [['CN', 'Some CA']] })
  testAttack('the pinned key is in a certificate that is served and trusted, but not in the path', {
    pinned,
    attacker,
    leaf: attacker.issue(),
    served: [crossed],
    fools: ['issuerCertificate']
  })
}

/*
 *  genuine                 attacker
 *  Pinned Root (key K)     Attacker Root     [Pinned Root: name, key id and key K copied, signature made up]
 *    └─ [leaf]               └─ [leaf]
 */
{
  const copy = createAuthority({ subjectNameOf: pinned, key: pinned.key, corruptSignature: true })
  testAttack('a self-signed copy of the pinned root with a made-up signature is appended', {
    pinned,
    attacker,
    leaf: attacker.issue(),
    served: [copy],
    fools: ['issuerCertificate']
  })
}

/*
 *  genuine                 attacker
 *  Pinned Root (key K)     Attacker Root
 *    └─ [leaf]               └─ [leaf, naming Attacker Root as its issuer]
 *                          [Attacker Root: the name only, "issued" by Pinned Root]
 *                          [Pinned Root: a self-signed copy with a made-up signature]
 */
{
  const copy = createAuthority({ subjectNameOf: pinned, key: pinned.key, corruptSignature: true })
  const bridge = createAuthority({ subjectNameOf: attacker, subjectKeyId: attacker.subjectKeyId ?? null, issuerNameOf: pinned })
  testAttack('a self-signed copy of the pinned root is tied to the leaf by a junk certificate', {
    pinned,
    attacker,
    leaf: attacker.issue(),
    served: [bridge, copy],
    fools: ['getPeerCertificate(true)', 'issuerCertificate']
  })
}
