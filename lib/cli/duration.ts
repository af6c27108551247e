import { InvalidArgumentError } from 'commander'

/**
 * Reads `500ms`, `30s`, `15m`, `1h` or `7d` into milliseconds, for commander's options.
 * @throws {InvalidArgumentError} for anything else, and for less than a millisecond or more than 24 days, which is the
 *   longest that a timer of Node's waits
 */
export function parseDuration(text: string): number {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim()) ?? []
  if (amount === undefined || unit === undefined) throw new InvalidArgumentError('Right would be a number with its unit: 500ms, 30s, 15m, 1h.')
  const duration = Math.round(Number(amount) * (units[unit] as number))
  if (duration < 1 || duration > longestTimerMs) throw new InvalidArgumentError('It must be between 1ms and 24d.')
  return duration
}

const units: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

const longestTimerMs = 24 * 86_400_000
