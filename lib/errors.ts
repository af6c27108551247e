/**
 * Every error this library makes, by whose fault it is.
 *
 * The `code` is the contract: it survives axios (`AxiosError.code`), other copies of this package and
 * serialisation. Details are read from the error itself, which axios keeps as `cause`; use
 * {@link findPinningError} to get at it.
 */
export type PinningErrorCode =
  | 'ERR_PIN_INVALID'
  | 'ERR_PIN_POLICY_INVALID'
  | 'ERR_PIN_MISMATCH'
  | 'ERR_PIN_CHAIN_UNVERIFIED'
  | 'ERR_PIN_HOST_UNPINNED'
  | 'ERR_PIN_BYPASS'
  | 'ERR_PIN_EXPIRED'
  | 'ERR_PIN_PROXY'
  | 'ERR_PIN_UPDATE_REJECTED'
  | 'ERR_PIN_INTEGRITY'
  | 'ERR_PIN_LOCKDOWN'

/** What an error or a report tells of one certificate. All strings; dates are `Date`s. */
export interface CertificateSummary {
  /** Subject, one line, most specific part first: `CN=api.example.com, O=Example`. */
  readonly subject: string
  readonly issuer: string
  readonly validFrom: Date
  readonly validTo: Date
  /** SHA-256 of the whole certificate, as openssl prints it: `AB:CD:…`. */
  readonly fingerprint: string
  /** SHA-256 of the SubjectPublicKeyInfo: `sha256/<base64>`. `undefined` where the key cannot be read. */
  readonly pin: string | undefined
}

/** Why a peer was probably refused. A help for people: it is made after the decision and never part of it. */
export interface Diagnosis {
  readonly verdict: DiagnosisVerdict
  /** How well the evidence fits this verdict and no other. */
  readonly confidence: 'high' | 'medium' | 'low'
  /** What was seen, in plain words. */
  readonly evidence: readonly string[]
  /** What to do. */
  readonly advice: string
  /** `intercepting-proxy` only: the product whose name the issuer bears. A name proves nothing. */
  readonly product?: string
  /** Where the certificate is probably the owner's own: the pins of its key and of itself, ready to paste. */
  readonly newPins?: readonly string[]
}

export type DiagnosisVerdict =
  | 'intercepting-proxy' /** a proxy, gateway or antivirus reads the traffic, with a certificate of its own */
  | 'key-rotated' /** the owner has a new key */
  | 'renewed-same-key' /** the owner has a new certificate of the same key: a key pin would have held */
  | 'multi-certificate-host' /** the host has several certificates in service, and not all are pinned */
  | 'wrong-host' /** another server has answered */
  | 'captive-portal' /** the network wants a login first */
  | 'expired' /** a certificate is out of date */
  | 'clock-wrong' /** this machine's clock is */
  | 'pins-stale' /** the pins are too old */
  | 'rejected-key' /** a certificate or key that the policy rejects by name */
  | 'chain-incomplete' /** intermediate certificates are missing */
  | 'no-trust-anchor' /** it is the pinned key, and no trust anchor vouches for it: a private CA, or a self-signed certificate */
  | 'misplaced-pin' /** a certificate of the chain is pinned, in a place where that pin does not count */
  | 'host-unpinned' /** no pins for this host */
  | 'bypass' /** an option would leave the pinned agent */
  | 'unknown'

/**
 * The base class. `instanceof` works within one copy of this package; across copies (two versions in
 * one process) use {@link isPinningError} or `code`.
 */
export class PinningError extends Error {
  readonly code: PinningErrorCode
  /** Why, probably, and what to do; of refused peers and requests. Not enumerable. */
  declare readonly diagnosis?: Diagnosis

  constructor(code: PinningErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.code = code
    // Not enumerable: axios copies enumerable properties of the cause onto its own error.
    Object.defineProperty(this, brand, { value: true })
    // axios 1.12.0 to 1.13.2 takes this error's cause for its own, and this error would be lost.
    const { cause } = this as { cause?: unknown }
    if (typeof cause === 'object' && cause !== null) Reflect.defineProperty(cause, effect, { value: this, configurable: true })
  }
}

/** `ERR_PIN_INVALID`: a text is not a pin, or a source has no key. */
export class PinInvalidError extends PinningError {
  /** The text given, shortened and with control characters escaped; never a private key. */
  readonly input: string
  readonly reason: string

  constructor(input: string, reason: string, options?: ErrorOptions) {
    super('ERR_PIN_INVALID', `Not a pin: ${input}: ${reason}`, options)
    this.input = input
    this.reason = reason
  }
}

/** `ERR_PIN_POLICY_INVALID`: an option or a host pattern cannot be used. */
export class PolicyInvalidError extends PinningError {
  /** The option's path, for example `pins["api.example.com"].expires`. */
  readonly option: string
  readonly reason: string

  constructor(option: string, reason: string, options?: ErrorOptions) {
    super('ERR_PIN_POLICY_INVALID', `${option}: ${reason}`, options)
    this.option = option
    this.reason = reason
  }
}

/** Something wrong in a file. `line` and `column` count from 1. */
export interface FileProblem {
  readonly line: number
  readonly column: number
  /** Where in the file's structure, for example `pins["api.example.com"].expires`; empty for a syntax error. */
  readonly path: string
  readonly reason: string
}

/** `ERR_PIN_POLICY_INVALID`: a file with pins cannot be used. */
export class PinsFileInvalidError extends PolicyInvalidError {
  readonly file: string
  /** What was found, in the order of the file; at most 100. */
  readonly problems: readonly FileProblem[]

  constructor(file: string, found: readonly FileProblem[], options?: ErrorOptions) {
    const problems = [...found].sort((a, b) => a.line - b.line || a.column - b.column)
    const first = problems[0] as FileProblem
    super(first.path, first.reason, options)
    this.file = file
    this.problems = problems
    const shown = problems.slice(0, problemsShown).map(({ line, column, path, reason }) => `${file}:${line}:${column}: ${path}${path && ': '}${reason}`)
    this.message = [...shown, ...(problems.length > problemsShown ? [`… and ${problems.length - problemsShown} more`] : [])].join('\n')
  }
}

const problemsShown = 10

/** What was compared when a peer was refused. */
export interface PeerFacts {
  readonly host: string
  readonly port: number
  /** The host pattern whose policy decided. */
  readonly policy: string
  /** What the server sent, leaf first, unchecked. */
  readonly served: readonly CertificateSummary[]
  /** The path whose signatures were checked, leaf to trust anchor; empty when none was needed or found. */
  readonly verified: readonly CertificateSummary[]
  /** The pins of the policy, in canonical form. */
  readonly knownPins: readonly string[]
}

/** `ERR_PIN_MISMATCH`: the peer is authentic by PKI, but is not the one that was pinned. */
export class PinMismatchError extends PinningError implements PeerFacts {
  readonly host: string
  readonly port: number
  readonly policy: string
  readonly served: readonly CertificateSummary[]
  readonly verified: readonly CertificateSummary[]
  readonly knownPins: readonly string[]

  constructor(reason: string, facts: PeerFacts, options?: ErrorOptions) {
    super('ERR_PIN_MISMATCH', `${reason}${describeFacts(facts)}`, options)
    this.host = facts.host
    this.port = facts.port
    this.policy = facts.policy
    this.served = facts.served
    this.verified = facts.verified
    this.knownPins = facts.knownPins
  }
}

/**
 * `ERR_PIN_CHAIN_UNVERIFIED`: a pin on a CA (or a `rejected` key) needs the verified chain, and no path whose
 * signatures, CA flags, dates and lengths hold leads from the leaf to a trust anchor.
 */
export class ChainUnverifiedError extends PinningError implements PeerFacts {
  readonly host: string
  readonly port: number
  readonly policy: string
  readonly served: readonly CertificateSummary[]
  readonly verified: readonly CertificateSummary[] = []
  readonly knownPins: readonly string[]

  constructor(reason: string, facts: PeerFacts) {
    super('ERR_PIN_CHAIN_UNVERIFIED', `${reason}${describeFacts(facts)}`)
    this.host = facts.host
    this.port = facts.port
    this.policy = facts.policy
    this.served = facts.served
    this.knownPins = facts.knownPins
  }
}

/** `ERR_PIN_HOST_UNPINNED`: no host pattern covers the host, and `unpinnedHosts` is `'refuse'`. */
export class HostUnpinnedError extends PinningError {
  readonly host: string
  readonly port: number
  /** Up to three patterns: those that look most like the host, else the first ones. */
  readonly nearest: readonly string[]

  constructor(host: string, port: number, nearest: readonly string[]) {
    const hint = nearest.length > 0 ? `; there are pins for ${nearest.join(', ')}` : ''
    super('ERR_PIN_HOST_UNPINNED', `No pins are known for ${/^[\x21-\x7e]+$/.test(host) ? host : JSON.stringify(host)}:${port}${hint}. ${nearest.length > 0 ? 'Right would be a host that these cover, or pins for this one' : 'Right would be pins for it'}; only where PKI alone may decide for every host without pins, unpinnedHosts: 'allow'.`)
    this.host = host
    this.port = port
    this.nearest = nearest
  }
}

/** `ERR_PIN_BYPASS`: an option or the environment would take the request past the pinned agent. */
export class BypassError extends PinningError {
  /** The axios option or environment variable, for example `httpVersion` or `HTTPS_PROXY`. */
  readonly option: string

  constructor(option: string, reason: string, options?: ErrorOptions) {
    super('ERR_PIN_BYPASS', `${option} would leave the pinned connection: ${reason}`, options)
    this.option = option
  }
}

/** `ERR_PIN_EXPIRED`: the policy's own `expires` has passed and `onExpiry` is `'refuse'`. */
export class PolicyExpiredError extends PinningError {
  readonly host: string
  /** When the pins expired. */
  readonly date: Date

  constructor(host: string, pattern: string, date: Date) {
    super('ERR_PIN_EXPIRED', `The pins for ${pattern} expired on ${date.toISOString()}; ${host} is refused. Publish new pins, or choose another onExpiry.`)
    this.host = host
    this.date = date
  }
}

/** Why a signed pin set was refused; stable. */
export type UpdateRejection =
  | 'too-large'
  | 'malformed' /** not a JWS over JSON, or not of the schema */
  | 'duplicate-key' /** a JSON object names one key twice */
  | 'too-deep' /** nested deeper than any set is */
  | 'signature'
  | 'unknown-key'
  | 'algorithm' /** none, HMAC, or another one than the key is for */
  | 'threshold' /** fewer trusted signatures than are asked for */
  | 'rollback' /** a lower version than one seen before */
  | 'other-content' /** a version seen before, with other content */
  | 'expired'
  | 'from-the-future'
  | 'audience'
  | 'too-many-hosts'
  | 'source-not-covered' /** it has no pins for the host it is fetched from */
  | 'signing-keys' /** too few signing keys would be left, or one cannot be used */
  | 'pins' /** a host pattern or pin cannot be used */

/** `ERR_PIN_UPDATE_REJECTED`: a signed pin set was refused, and the one before it is kept. */
export class UpdateRejectedError extends PinningError {
  readonly reason: UpdateRejection
  /** The version that stays in force; `undefined` when the bootstrap pins do. */
  readonly keptVersion: number | undefined

  constructor(reason: UpdateRejection, why: string, keptVersion: number | undefined, options?: ErrorOptions) {
    super('ERR_PIN_UPDATE_REJECTED', `The pin set was rejected: ${why}. ${keptVersion === undefined ? 'What was in force stays' : `Version ${keptVersion} is kept`}.`, options)
    this.reason = reason
    this.keptVersion = keptVersion
  }
}

/** `ERR_PIN_PROXY`: a proxy opened no tunnel, so nothing could be verified and nothing was sent. */
export class ProxyError extends PinningError {
  /** `http://host:port`, without credentials. */
  readonly proxy: string
  /** What it answered CONNECT with; `undefined` when it gave no answer. */
  readonly status: number | undefined

  constructor(proxy: string, status: number | undefined, reason: string, options?: ErrorOptions) {
    super('ERR_PIN_PROXY', `The proxy ${proxy} ${reason}`, options)
    this.proxy = proxy
    this.status = status
  }
}

/** `ERR_PIN_INTEGRITY`: something in the process could weaken pinning, is not in `integrityAllow`, and `integrity` is `'refuse'`. */
export class IntegrityError extends PinningError {
  /** What was found, each by the name that `integrityAllow` takes. */
  readonly findings: ReadonlyArray<{ readonly name: string; readonly detail: string }>

  constructor(findings: ReadonlyArray<{ readonly name: string; readonly detail: string }>) {
    const lines = findings.map(({ name, detail }) => `\n  ${name}: ${detail}`)
    super('ERR_PIN_INTEGRITY', `The process could weaken pinning, so nothing is sent. Take it away, or list it in integrityAllow if it is meant to be there:${lines.join('')}`)
    this.findings = findings
  }
}

/** `ERR_PIN_LOCKDOWN`: the host looked as if it were under attack a while ago, and nothing is sent to it until that is over. */
export class LockdownError extends PinningError {
  readonly host: string
  /** When it ends. */
  readonly until: Date

  constructor(host: string, until: Date, reason: string) {
    super('ERR_PIN_LOCKDOWN', `${host} is refused until ${until.toISOString()}, whoever answers: ${reason}`)
    this.host = host
    this.until = until
  }
}

/** `true` for a {@link PinningError} of this or another copy of the package. */
export function isPinningError(value: unknown): value is PinningError {
  try {
    return typeof value === 'object' && value !== null && (value as { [brand]?: unknown })[brand] === true
  } catch {
    // A proxy that does not want to be looked at is not ours.
    return false
  }
}

/**
 * The {@link PinningError} behind an error, or `undefined`. Looks at the error itself, then along `cause` and into
 * `errors` of an `AggregateError`; bounded, so cycles do no harm. Never throws.
 *
 * ```ts
 * try { await api.get('/me') } catch (err) {
 *   const pinning = findPinningError(err)
 *   if (pinning?.code === 'ERR_PIN_MISMATCH') …
 * }
 * ```
 */
export function findPinningError(err: unknown): PinningError | undefined {
  return findBehind(err, isPinningError)
}

/**
 * The {@link Diagnosis} of a refusal behind an error, or `undefined`; also where PKI itself refused the peer, which is no
 * {@link PinningError}. Looks where {@link findPinningError} does. Never throws.
 */
export function findDiagnosis(err: unknown): Diagnosis | undefined {
  return findBehind(err, isDiagnosed)?.diagnosis
}

function isDiagnosed(value: unknown): value is { diagnosis: Diagnosis } {
  try {
    const { diagnosis } = (typeof value === 'object' && value !== null ? value : {}) as { diagnosis?: { verdict?: unknown } }
    return typeof diagnosis?.verdict === 'string'
  } catch {
    return false
  }
}

/** The first that matches: the error, along `cause`, into `errors`. */
function findBehind<T>(err: unknown, matches: (value: unknown) => value is T): T | undefined {
  const seen = new Set<unknown>()
  const queue: unknown[] = [err]
  for (const value of queue) {
    if (matches(value)) return value
    if (typeof value !== 'object' || value === null || seen.has(value) || seen.size >= searchLimit) continue
    seen.add(value)
    queue.push(...causesOf(value))
  }
  return undefined
}

/** What an error was caused by; nothing where looking at it throws. */
function causesOf(error: object): unknown[] {
  try {
    const { cause, errors } = error as { cause?: unknown; errors?: unknown }
    return [lostBetween(error, cause), cause, ...(Array.isArray(errors) ? (errors as unknown[]).slice(0, searchLimit) : [])]
  } catch {
    return []
  }
}

/** The error that stood between these two, and whose message the first has taken over. */
function lostBetween(error: object, cause: unknown): unknown {
  try {
    const lost = (cause as { [effect]?: Error } | undefined)?.[effect]
    return lost?.message === (error as Error).message ? lost : undefined
  } catch {
    return undefined
  }
}

const searchLimit = 100

// Shared by every copy of the package in the process, so that one recognises the other's errors.
const brand = Symbol.for('axios-ssl-pinning.PinningError')
const effect: unique symbol = Symbol.for('axios-ssl-pinning.effect') as never

function describeFacts(facts: PeerFacts): string {
  const lines = [
    '',
    `  host: ${facts.host}:${facts.port}, policy: ${facts.policy}`,
    ...describeChain('served chain', facts.served),
    ...describeChain('verified chain', facts.verified),
    '  known pins:',
    ...facts.knownPins.slice(0, pinsShown).map((pin) => `    ${pin}`)
  ]
  if (facts.knownPins.length > pinsShown) lines.push(`    … and ${facts.knownPins.length - pinsShown} more`)
  return lines.join('\n')
}

const pinsShown = 10

function describeChain(title: string, chain: readonly CertificateSummary[]): string[] {
  if (chain.length === 0) return []
  return [
    `  ${title}:`,
    ...chain.flatMap((certificate) => [
      `    ${certificate.subject || '(no subject)'}, valid ${day(certificate.validFrom)} to ${day(certificate.validTo)}`,
      `      ${certificate.fingerprint}`,
      `      ${certificate.pin ?? '(key cannot be read)'}`
    ])
  ]
}

function day(date: Date): string {
  return Number.isNaN(date.getTime()) ? '?' : date.toISOString().slice(0, 10)
}
