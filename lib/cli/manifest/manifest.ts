import { Command } from 'commander'
import type { Run } from '../command.js'
import { keygenCommand } from './keygen.js'
import { serveCommand } from './serve.js'
import { showCommand } from './show.js'
import { signCommand } from './sign.js'
import { verifyCommand } from './verify.js'

/** `manifest …`: the publisher's side of signed pin sets. */
export function manifestCommand(run: Run): Command {
  const group = new Command('manifest').description('Make, sign, check and serve signed pin sets, with which programs get new pins while they run.')
  for (const make of [keygenCommand, signCommand, verifyCommand, showCommand, serveCommand]) group.addCommand(make(run))
  return group
}
