import { InvalidArgumentError } from 'commander'

/** For an option that can be given again. */
export function collect(value: string, earlier: readonly string[] = []): string[] {
  return [...earlier, value]
}

/** A whole number from 1. */
export function parseWhole(text: string): number {
  const value = Number(text)
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('Right would be a whole number from 1.')
  return value
}

/** A port, 0 being any free one. */
export function parsePort(text: string): number {
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65_535) throw new InvalidArgumentError('Right would be a number from 0 to 65535.')
  return Number(text)
}
