import { readFileSync, realpathSync } from 'node:fs'
import writeFileAtomic from 'write-file-atomic'
import { parsePin } from '../../pin/pin.js'
import { editPins } from '../../formats/pins-edit.js'
import type { PinsEdit } from '../../formats/pins-edit.js'
import { readPinsFile } from '../../formats/pins-file.js'
import type { PinsFile, PinsRefresh } from '../../formats/pins-file.js'
import { CommandError, exitCode } from '../exit.js'
import { entriesOf, instantOf } from './coverage.js'
import type { PinsEntry } from './coverage.js'

/** A day: a guess that is on the safe side for clients that reload their pins when they start anew each night. */
export const defaultSpreadMs = 86_400_000

export function spreadOf({ spreadMs = defaultSpreadMs }: PinsRefresh): number {
  return spreadMs
}

export function graceOf({ graceMs, ...refresh }: PinsRefresh): number {
  return graceMs ?? spreadOf(refresh)
}

/** Adds a pin to an entry, and notes when. */
export function announce({ name, path, given }: PinsEntry, pin: string, now: Date): PinsEdit[] {
  const at = Array.isArray(given) ? path : [...path, 'publicKeys']
  const missing = !Array.isArray(given) && (given as { publicKeys?: unknown }).publicKeys === undefined
  return [missing ? { path: at, value: [pin] } : { path: at, append: pin }, { path: ['refresh', 'hosts', name, 'announced', pin], value: now.toISOString() }]
}

/**
 * Notes the pin of the key that the server uses from now on. The pin of the key before it is retired, as long as it is
 * one of the entry's; what else is there (backups) stays.
 */
export function putInUse({ name, policy, rotation }: PinsEntry, pin: string, now: Date): PinsEdit[] {
  const former = rotation.inUse === undefined ? undefined : parsePin(rotation.inUse).text
  if (former === pin) return []
  const at = ['refresh', 'hosts', name]
  return [
    { path: [...at, 'inUse'], value: pin },
    ...(former !== undefined && policy.pins.has(former) ? [{ path: [...at, 'retired', former], value: now.toISOString() }] : []),
    ...spellings(rotation.retired, pin).map((text) => ({ path: [...at, 'retired', text] }))
  ]
}

/** Takes the pins out whose grace period is over. The last pin of an entry stays, and the one in use. */
export function dropRetired(entry: PinsEntry, graceMs: number, now: Date): { edits: PinsEdit[]; dropped: string[] } {
  const { name, path, given, policy, rotation } = entry
  const inUse = rotation.inUse === undefined ? undefined : parsePin(rotation.inUse).text
  const due = [...policy.pins.keys()].filter((pin) => pin !== inUse && isOver(rotation, pin, graceMs, now))
  const dropped = due.length < policy.pins.size ? due : []
  const lists: Array<{ at: readonly string[]; list: readonly string[] }> = Array.isArray(given)
    ? [{ at: path, list: given as readonly string[] }]
    : (['certificates', 'publicKeys', 'pins'] as const).map((field) => ({ at: [...path, field], list: (given as Record<typeof field, readonly string[] | undefined>)[field] ?? [] }))
  const edits = lists.flatMap(({ at, list }) => removals(at, list, dropped))
  const notes = dropped.flatMap((pin) => (['announced', 'retired'] as const).flatMap((kind) => spellings(rotation[kind], pin).map((text) => ({ path: ['refresh', 'hosts', name, kind, text] }))))
  return { edits: [...edits, ...notes], dropped }
}

/**
 * Changes a pins file: reads it, lets `change` say the edits, and puts the new text in its place at once, unless somebody
 * else has changed it meanwhile (then all over, three times at most). Without edits nothing is written.
 */
export async function changePins<T>(path: string, change: (file: PinsFile) => { edits: PinsEdit[]; result: T }): Promise<T> {
  for (let tries = 0; tries < 3; tries++) {
    const text = readFileSync(path, 'utf8')
    const file = readPinsFile(path)
    const { edits, result } = change(file)
    if (edits.length === 0) return result
    const edited = editPins(text.replace(/^\ufeff/, ''), path, file.syntax, edits)
    if (readFileSync(path, 'utf8') !== text) continue
    // Where the path is a link, the file it leads to is replaced. Mode and owner are kept.
    await writeFileAtomic(realpathSync(path), edited)
    return result
  }
  throw new CommandError(`${path} is being changed by somebody else`, exitCode.usage, 'ERR_INPUT')
}

/** The entry of the same name after the file was read again. */
export function sameEntry(file: PinsFile, { name }: PinsEntry): PinsEntry | undefined {
  return entriesOf(file).find((each) => each.name === name)
}

function isOver({ retired = {} }: PinsEntry['rotation'], pin: string, graceMs: number, now: Date): boolean {
  const since = instantOf(retired, pin)
  return since !== undefined && since.getTime() + graceMs <= now.getTime()
}

/** A list that loses all goes; else its elements, from the end, so that the indices in front of them hold. An empty one may stay as little as the sole key of an object may. */
function removals(at: readonly string[], list: readonly string[], dropped: readonly string[]): PinsEdit[] {
  const indices = list.flatMap((text, index) => (dropped.includes(parsePin(text).text) ? [index] : []))
  if (indices.length > 0 && indices.length === list.length && at.length > 2) return [{ path: at }]
  return indices.reverse().map((index) => ({ path: [...at, index] }))
}

function spellings(instants: Readonly<Record<string, string>> | undefined, pin: string): string[] {
  return Object.keys(instants ?? {}).filter((text) => parsePin(text).text === pin)
}
