import type { Checked } from './check.js'
import { showDay, showDaysLeft, showTable, showText } from './format.js'
import type { Expiry, HostCheck, HostStatus } from './host-check.js'
import type { Colors } from './output.js'

/** One round for people: a table, what is not well, and a sum. */
export function describeChecks(checks: readonly HostCheck[], colors: Colors, warnDays: number): string {
  const { dim } = colors
  const rows = checks.map((check) => {
    const [next] = check.expiries
    return [
      paint(check.status, colors)(check.status),
      `${check.target}${check.mode === 'enforce' ? '' : dim(` (${check.mode})`)}`,
      check.status === 'unreachable' || check.status === 'refused' || check.pattern === undefined ? '-' : String(check.backups.length),
      next === undefined ? '-' : paintDays(next, warnDays, colors)(`${describeWhat(next)} ${showDay(next.date)}, ${showDaysLeft(next.date, Date.now())}`),
      describeMatch(check)
    ]
  })
  const problems = checks.flatMap((check) => check.problems.map(({ message }) => `${paint(check.status, colors)(check.target)}: ${showText(message)}`))
  const diagnoses = checks.flatMap(({ target, diagnosis }) => (diagnosis ? [`${target}: ${diagnosis.verdict} (confidence: ${diagnosis.confidence}). To do: ${showText(diagnosis.advice)}`] : []))
  return [showTable(['STATUS', 'HOST', 'BACKUPS', 'EXPIRES FIRST', 'MATCHED'].map(dim), rows), ...section(problems), ...section(diagnoses), '', summarise(checks)].join('\n')
}

/** `500 hosts: 1 refused, 1 unreachable, 2 with warnings, 496 well` */
export function summarise(checks: readonly HostCheck[]): string {
  const count = (status: HostStatus): number => checks.filter((check) => check.status === status).length
  const parts = ([['refused', 'refused'], ['unreachable', 'unreachable'], ['warning', 'with warnings'], ['ok', 'well']] as const).filter(([status]) => count(status) > 0)
  return `${checks.length} ${checks.length === 1 ? 'host' : 'hosts'}: ${parts.map(([status, text]) => `${count(status)} ${text}`).join(', ')}`
}

/** Something that was not so in the round before. */
export interface Change {
  readonly time: Date
  readonly target: string
  readonly kind: 'status' | 'match' | 'certificate' | 'added' | 'removed'
  readonly before: string | undefined
  readonly after: string | undefined
  /** Why, where something is not well. */
  readonly reason?: string
}

export function changesBetween(before: Checked, after: Checked): Change[] {
  const { time } = after
  const known = new Map(before.hosts.map((check) => [check.target, check]))
  const now = new Map(after.hosts.map((check) => [check.target, check]))
  const changes = after.hosts.flatMap((check): Change[] => {
    const { target, status, problems, match, leaf } = check
    const reason = problems.map(({ message }) => message).join('; ')
    const because = reason === '' ? {} : { reason }
    const old = known.get(target)
    if (old === undefined) return [{ time, target, kind: 'added', before: undefined, after: status, ...because }]
    const found: Change[] = []
    if (old.status !== status || kindsOf(old) !== kindsOf(check)) found.push({ time, target, kind: 'status', before: old.status, after: status, ...because })
    if (old.leaf && leaf && old.leaf.fingerprint !== leaf.fingerprint) found.push({ time, target, kind: 'certificate', before: old.leaf.fingerprint, after: leaf.fingerprint })
    if (old.match && match && old.match.pin !== match.pin) found.push({ time, target, kind: 'match', before: old.match.pin, after: match.pin })
    return found
  })
  const removed = before.hosts.filter(({ target }) => !now.has(target)).map(({ target, status }): Change => ({ time, target, kind: 'removed', before: status, after: undefined }))
  return [...changes, ...removed]
}

export function describeChange({ time, target, kind, before, after, reason }: Change, colors: Colors): string {
  const what = { status: `${before} -> ${after}`, match: `matches another pin: ${before} -> ${after}`, certificate: `another certificate: ${before} -> ${after}`, added: `new, ${after}`, removed: 'no longer in the pins file' }[kind]
  const status = kind === 'status' || kind === 'added' ? (after as HostStatus) : 'ok'
  return `${time.toISOString()} ${paint(status, colors)(target)} ${what}${reason === undefined ? '' : `: ${showText(reason)}`}`
}

/** The same kinds of problems, whatever the days left. */
function kindsOf({ problems }: HostCheck): string {
  return problems.map(({ kind, code = '' }) => `${kind} ${code}`).sort().join()
}

function section(lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : ['', ...lines]
}

function describeMatch({ match, pattern, status }: HostCheck): string {
  if (match === undefined) return pattern === undefined && status === 'ok' ? 'no pins: PKI alone' : '-'
  return `${match.pin} (${match.of === 'leaf' ? 'leaf' : showText(match.subject ?? 'authority')})`
}

function describeWhat({ what, name }: Expiry): string {
  return what === 'authority' ? `CA ${showText(name)}` : what
}

function paint(status: HostStatus, { green, yellow, red, magenta }: Colors): (text: string) => string {
  return { ok: green, warning: yellow, refused: red, unreachable: magenta }[status]
}

function paintDays({ daysLeft }: Expiry, warnDays: number, { red, yellow }: Colors): (text: string) => string {
  return daysLeft < 0 ? red : daysLeft < warnDays ? yellow : String
}
