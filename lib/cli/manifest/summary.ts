import type { JsonWebKey } from 'node:crypto'
import { isBeyondThisNode, readSigningKey } from '../../update/keys.js'
import type { PinSetPayload } from '../../update/manifest.js'
import type { Signature } from '../../update/signatures.js'
import { showDaysLeft, showText } from '../format.js'
import type { Colors } from '../output.js'

/** What a set says, for people. */
export function describeSet(payload: PinSetPayload, signatures: readonly Signature[], { bold, red, yellow }: Colors, now: number): string {
  const { version, audience, issued, expires, refreshMs = 3_600_000, pins, keys = [], revoked = {} } = payload
  const ends = new Date(expires)
  const paint = ends.getTime() <= now ? red : ends.getTime() - now < 7 * 86_400_000 ? yellow : String
  const entries = Object.entries(pins)
  const lines = [
    bold(`Version ${version} for ${showText(JSON.stringify(audience))}`),
    `  issued   ${issued}`,
    `  expires  ${expires}, ${paint(showDaysLeft(ends, now))}`,
    `  refresh  every ${refreshMs / 1_000} s`,
    ...signatures.map(({ alg, kid }) => `  signed   ${showText(alg)} by ${kid}`),
    '',
    bold(`${entries.length} ${entries.length === 1 ? 'host pattern' : 'host patterns'}`),
    ...entries.slice(0, hostsShown).flatMap(([pattern, policy]) => [`  ${showText(pattern)}`, ...describePolicy(policy).map((line) => `    ${showText(line)}`)])
  ]
  if (entries.length > hostsShown) lines.push(`  … and ${entries.length - hostsShown} more (--json shows all)`)
  if (keys.length > 0) lines.push('', bold('Signing keys that it names'), ...keys.map((key) => `  ${describeKey(key)}`))
  if (revoked.keys?.length) lines.push('', bold('Signing keys that it revokes'), ...revoked.keys.map((key) => `  ${showText(key)}`))
  if (revoked.pins?.length) lines.push('', bold('Pins that it revokes'), ...revoked.pins.map((pin) => `  ${showText(pin)}`))
  return lines.join('\n')
}

const hostsShown = 50

function describeKey(jwk: JsonWebKey): string {
  if (isBeyondThisNode(jwk)) return 'a key of an algorithm that this Node does not know'
  try {
    const { algorithm, id } = readSigningKey(jwk, 'keys')
    return `${algorithm} ${id}`
  } catch {
    return 'a key that cannot be used'
  }
}

function describePolicy(policy: PinSetPayload['pins'][string]): string[] {
  if (Array.isArray(policy)) return [...(policy as readonly string[])]
  return Object.entries(policy).flatMap(([name, value]) => {
    const values: readonly unknown[] = Array.isArray(value) ? value : [value]
    return values.map((each) => `${name}: ${String(each).split('\n', 1)[0]}`)
  })
}
