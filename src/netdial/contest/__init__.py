"""Contest: netdial's ways of training against plain networks, boosted trees and a linear model, at equal time."""
