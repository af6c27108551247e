/**
 * What failing connections look like, taken together.
 * - `rotation`: the owner seems to have changed something: most often the pins are to be updated.
 * - `unexplained`: more fails than the host's history explains, and it may be either.
 * - `attack`: somebody seems to stand between this program and the host.
 * - `interception`: one CA that none of them used before stands before several hosts.
 */
export type ThreatKind = 'rotation' | 'unexplained' | 'attack' | 'interception'

export type ThreatSeverity = 'info' | 'warning' | 'critical'

/** One thing that was seen, and how it weighs. */
export interface ThreatEvidence {
  readonly fact: string
  /** Natural logarithm of how many times likelier it is under an attack than under a change by the owner; negative for the opposite. */
  readonly weight: number
}

/** Something that connections have in common. `String(threat)` is for people, `JSON.stringify(threat)` for machines. */
export class Threat {
  readonly severity: ThreatSeverity

  constructor(
    readonly time: Date,
    readonly kind: ThreatKind,
    /** `host:port`, those seen last first; at most ten. */
    readonly hosts: readonly string[],
    /** The sum of the weights: above 3, an attack is some twenty times likelier than a change by the owner. */
    readonly score: number,
    readonly evidence: readonly ThreatEvidence[],
    /** What would have to be the case for this to be wrong. */
    readonly wrongIf: readonly string[]
  ) {
    this.severity = severities[kind]
  }

  toString(): string {
    const lines = this.evidence.map(({ fact, weight }) => `  ${weight >= 0 ? '+' : ''}${weight.toFixed(1)} ${fact}`)
    return [`${titles[this.kind]} at ${this.hosts.join(', ')} (${this.severity}, score ${this.score.toFixed(1)})`, ...lines, ...this.wrongIf.map((text) => `  wrong if ${text}`)].join('\n')
  }
}

/** The host of `host:port`. */
export function hostOf(hostAndPort: string): string {
  return hostAndPort.slice(0, hostAndPort.lastIndexOf(':'))
}

const severities: Record<ThreatKind, ThreatSeverity> = { rotation: 'info', unexplained: 'warning', attack: 'critical', interception: 'critical' }

const titles: Record<ThreatKind, string> = {
  rotation: 'The owner seems to have changed something',
  unexplained: 'Connections fail that did not fail before',
  attack: 'Looks like an attack',
  interception: 'Looks like one interceptor before several hosts'
}

/** Of each kind: the innocent, or guilty, story that looks the same from here. */
export const wrongIf: Record<ThreatKind, readonly string[]> = {
  rotation: ['an attacker has a certificate of a CA that the owner uses, and meets nearly every connection'],
  unexplained: ['nothing has changed: the pins never were complete, or a machine of the owner was left behind'],
  attack: ['the owner has moved to another CA step by step', 'another network provider of the owner serves certificates of its own', 'the network of this machine wants a sign-in, or inspects traffic with the consent of its owner'],
  interception: ['the owners of these hosts have all moved to one CA within the hour', 'this network inspects traffic with the consent of its owner']
}
