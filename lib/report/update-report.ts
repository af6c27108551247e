/**
 * What became of one look at the source of pin sets, or of the set in force. `String(report)` is for people,
 * `JSON.stringify(report)` for machines.
 */
export class UpdateReport {
  readonly time: Date
  /**
   * `updated`: another set is in force. `restored`: the stored one is. `expired`: the one in force is not trusted any more.
   * `rejected`: a set was refused, the one before it stays. `unavailable`: the source, or the store, did not answer.
   */
  readonly result: 'updated' | 'restored' | 'expired' | 'rejected' | 'unavailable'
  /** The source's name, or the store's. */
  readonly source: string
  /** The version in force after it; `undefined` while the bootstrap pins are. Of `expired`: the one that has. */
  readonly version: number | undefined
  readonly previousVersion: number | undefined
  /** When the set in force stops being trusted. */
  readonly expires: Date | undefined
  /** The revision of the policies in force, as in `PinReport.policyRevision`. */
  readonly revision: number
  /** Requests that were aborted because their peer is not accepted any more (`onRevoked: 'abort'`). */
  readonly aborted: number
  /** Why not. `reason` says it in a stable word where a set was refused. */
  readonly error: { readonly code: string | undefined; readonly reason: string | undefined; readonly message: string } | undefined

  constructor(facts: Omit<UpdateReport, 'error' | 'toString'> & { readonly error?: Error | undefined }) {
    const { error } = facts
    this.time = facts.time
    this.result = facts.result
    this.source = facts.source
    this.version = facts.version
    this.previousVersion = facts.previousVersion
    this.expires = facts.expires
    this.revision = facts.revision
    this.aborted = facts.aborted
    this.error = error && { code: textOf(error, 'code'), reason: textOf(error, 'reason'), message: error.message }
  }

  toString(): string {
    const expired = this.expires !== undefined && this.time >= this.expires
    const stays = this.version === undefined ? 'the bootstrap pins stay in force' : expired ? `version ${this.version}, which has expired, is still the newest` : `version ${this.version} stays in force`
    switch (this.result) {
      case 'updated':
        return `Pin set version ${this.version} of ${this.source} is in force${this.previousVersion === undefined ? '' : ` in place of ${this.previousVersion}`}${this.aborted > 0 ? `; ${this.aborted} connections were aborted` : ''}`
      case 'restored':
        return `Pin set version ${this.version} of ${this.source} is in force again`
      case 'expired':
        return `Pin set version ${this.version} expired at ${this.expires?.toISOString()}`
      case 'rejected':
        return `A pin set of ${this.source} was refused, and ${stays}: ${this.error?.message}`
      case 'unavailable':
        return `${this.source} cannot be used now, and ${stays}: ${this.error?.message}`
    }
  }
}

function textOf(error: object, name: string): string | undefined {
  const value = (error as Record<string, unknown>)[name]
  return typeof value === 'string' ? value : undefined
}
