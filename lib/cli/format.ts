import Table from 'cli-table3'

/**
 * A text that a stranger may have written, as a terminal may show it: control and invisible characters, with which it
 * could move the cursor or reverse its reading, are escaped. Line breaks are as well.
 */
export function showText(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (character) => `\\u{${(character.codePointAt(0) as number).toString(16)}}`)
}

/** The first line of an error's message: what a command says of it. */
export function firstLine(message: string): string {
  return showText(message.split('\n', 1)[0] as string)
}

/** `2027-01-31`; `?` for an invalid date. */
export function showDay(date: Date): string {
  return Number.isNaN(date.getTime()) ? '?' : date.toISOString().slice(0, 10)
}

/** Whole days from `now` until a date, rounded down: 0 is less than a day, -1 has passed. */
export function daysUntil(date: Date, now: number): number {
  return Math.floor((date.getTime() - now) / dayMs)
}

/** `12 days left` (to the nearest day), `1 day left`, `ends within a day`, `expired 3 days ago`. */
export function showDaysLeft(date: Date, now: number): string {
  if (Number.isNaN(date.getTime())) return '?'
  const days = daysUntil(date, now)
  const left = Math.round((date.getTime() - now) / dayMs)
  if (date.getTime() < now) return days >= -1 ? 'expired today' : `expired ${-days - 1} ${-days - 1 === 1 ? 'day' : 'days'} ago`
  return days === 0 ? 'ends within a day' : `${left} ${left === 1 ? 'day' : 'days'} left`
}

const dayMs = 86_400_000

/** A table without borders, its columns as wide as they have to be. */
export function showTable(head: readonly string[], rows: ReadonlyArray<readonly string[]>): string {
  const table = new Table({ head: [...head], style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 }, chars: noBorders })
  for (const row of rows) table.push([...row])
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n')
}

const noBorders = { top: '', 'top-mid': '', 'top-left': '', 'top-right': '', bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '', left: '', 'left-mid': '', mid: '', 'mid-mid': '', right: '', 'right-mid': '', middle: '' }
