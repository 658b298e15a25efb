/** The editor's buttons, and the list of its keys. */

import { keepFromHost } from './keyboard.js'

const ICONS = {
  poses: 'M4 4h4v4H4zM12 4h4v4h-4zM4 12h4v4H4zM12 12h4v4h-4z',
  mirror: 'M10 3v14M7 6l-4 8h4zM13 6l4 8h-4z',
  undo: 'M7 5L3 9l4 4M3 9h8a5 4 0 0 1 0 8H8',
  redo: 'M13 5l4 4-4 4M17 9H9a5 4 0 0 0 0 8h3',
  fit: 'M3 7V3h4M13 3h4v4M17 13v4h-4M7 17H3v-4',
  restart: 'M4 10a6 6 0 1 0 2-4.5L4 7M4 3v4h4',
  crop: 'M6 2v12h12M2 6h12v12',
  text: 'M7 4L3 10l4 6M13 4l4 6-4 6'
}

/** What the keys do; also shown to the user. */
export const KEYS = [
  ['Drag a joint', 'moves it'],
  ['Shift + drag', 'turns the limb, lengths stay'],
  ['Drag a line', 'moves the figure'],
  ['Double-click, right-click', 'hides or shows a joint'],
  ['Drag the ground', 'moves the view'],
  ['Scroll (after a click)', 'zooms; double-click the ground to see all'],
  ['Tab, Shift + Tab', 'next or previous joint'],
  ['Arrows', 'move the joint, without one the figure; with Shift further'],
  ['H', 'hides or shows the joint'],
  ['M', 'mirrors: left and right change sides'],
  ['+ and −', 'larger or smaller figure'],
  ['Page up, Page down', 'the frame before, the next one'],
  ['Ctrl + Z, Ctrl + Y', 'undo and redo'],
  ['P, F, Esc', 'library, see all, let go']
]

/**
 * @param actions functions by the names of the buttons, `opacity(value)` and `focus()`.
 * @returns the bar, and `buttons` by name (with `opacity` for the slider's label).
 */
export function makeToolbar(actions) {
  const bar = document.createElement('div')
  bar.className = 'pcdm-tools'
  bar.setAttribute('role', 'toolbar')
  bar.setAttribute('aria-label', 'Pose editor')
  const buttons = {}
  const add = (name, label, title, shown = '') => {
    const button = document.createElement('button')
    button.type = 'button'
    button.title = title
    button.setAttribute('aria-label', label)
    button.innerHTML = ICONS[name]
      ? `<svg viewBox="0 0 20 20" aria-hidden="true"><path d="${ICONS[name]}"/></svg>`
      : ''
    button.append(shown)
    button.addEventListener('click', () => actions[name]())
    bar.append((buttons[name] = button))
  }
  add('poses', 'Pose library', 'Choose a pose of the library (P)', 'Poses')
  add('mirror', 'Mirror', 'Mirror the figure: left and right change sides (M)')
  add('undo', 'Undo', 'Undo (Ctrl+Z)')
  add('redo', 'Redo', 'Redo (Ctrl+Y)')
  add('fit', 'See all', 'See the whole frame again (F)')
  add('restart', 'Start from the connected pose', 'Start again from the connected pose', 'Input')
  add('crop', 'Frame as the picture', 'Give the frame the shape of the picture')
  bar.append((buttons.opacity = makeSlider(actions)))
  const space = document.createElement('span')
  space.className = 'pcdm-space'
  bar.append(space)
  // A click on a button leaves the focus where the keys are.
  bar.addEventListener('mousedown', (event) => {
    if (!event.target.closest('button')) return
    event.preventDefault()
    actions.focus()
  })
  add('text', 'Pose as text', 'The pose as text, to copy or paste it')
  add('keys', 'Help', 'What the mouse and the keys do', '?')
  return { bar, buttons }
}

export function makeKeyList() {
  const panel = document.createElement('div')
  panel.className = 'pcdm-keys'
  panel.hidden = true
  const list = document.createElement('dl')
  for (const [key, what] of KEYS) {
    const [term, text] = [document.createElement('dt'), document.createElement('dd')]
    term.textContent = key
    text.textContent = what
    list.append(term, text)
  }
  panel.append(list)
  panel.addEventListener('wheel', (event) => event.stopPropagation(), { passive: true })
  return panel
}

/**
 * The pose as text.
 *
 * @param change called with what was typed or pasted.
 * @param judge what is wrong with a text, or nothing.
 * @returns the panel, its text area, and `complain()`, which shows what is wrong with the text.
 */
export function makeTextPanel(change, judge) {
  const panel = document.createElement('div')
  panel.className = 'pcdm-text'
  panel.hidden = true
  const area = document.createElement('textarea')
  area.spellcheck = false
  area.setAttribute('aria-label', 'The pose as OpenPose JSON')
  area.placeholder = 'Paste a pose here: OpenPose JSON'
  area.addEventListener('change', () => change(area.value))
  area.addEventListener('wheel', (event) => event.stopPropagation(), { passive: true })
  area.addEventListener('keydown', keepFromHost)
  const complaint = document.createElement('div')
  complaint.className = 'pcdm-complaint'
  complaint.setAttribute('role', 'status')
  const complain = () => {
    complaint.textContent = judge(area.value)
    complaint.hidden = !complaint.textContent
    area.setAttribute('aria-invalid', String(!complaint.hidden))
  }
  area.addEventListener('input', complain)
  panel.append(area, complaint)
  return { panel, area, complain }
}

function makeSlider(actions) {
  const label = document.createElement('label')
  label.title = 'How strongly the picture shows'
  const slider = document.createElement('input')
  slider.type = 'range'
  slider.min = '0'
  slider.max = '100'
  slider.value = '60'
  slider.setAttribute('aria-label', 'Strength of the picture')
  slider.addEventListener('input', () => actions.opacity(Number(slider.value) / 100))
  label.append('Picture', slider)
  return label
}
